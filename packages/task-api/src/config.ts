import { folderPath } from '@comfy-balancer/service-kit/config'
import { type Static, type TObject, Type } from '@sinclair/typebox'
import type { TaskApiDeps } from './deps.ts'
import type { InputLimits } from './inputs/input-library.ts'

/** The variables of every service that takes tasks; spread them into its schema. */
export const taskApiConfig = {
  INPUT_MAX_PIXELS: Type.Integer({
    minimum: 1,
    default: 67_108_864,
    description: 'Of one image that a caller brings: a small file may unfold to a huge one'
  }),
  INPUT_RETENTION_SECONDS: Type.Integer({
    minimum: 60,
    maximum: 31_536_000,
    default: 604_800,
    description: 'How long an uploaded input is kept after its last use'
  }),
  LORA_S3_PREFIXES: Type.String({
    default: '',
    pattern: '^\\s*(s3://[^\\s,]+/\\s*(,\\s*s3://[^\\s,]+/\\s*)*)?$',
    rule: 'must be prefixes such as s3://models/{tenant}/, comma-separated, each ending in a slash',
    description: 'What of S3 callers may name as a LoRA; {tenant} stands for the caller. Nothing by default'
  }),
  DENIED_CLASSES: Type.String({
    default: '',
    pattern: '^(\\s*|[^,]*[A-Za-z0-9][^,]*(,[^,]*[A-Za-z0-9][^,]*)*)$',
    rule: 'must be class names, comma-separated',
    description:
      'Class names that no workflow may use, comma-separated: such as write models or run what they are given'
  }),
  TASK_TIMEOUT_SECONDS: Type.Integer({ minimum: 1, maximum: 86_400, default: 600, description: 'Of one attempt' }),
  TASK_DEADLINE_SECONDS: Type.Integer({
    minimum: 1,
    maximum: 604_800,
    default: 604_800,
    description: 'From acceptance to the end, for tasks that name none'
  }),
  GROUP_MAX_TASKS: Type.Integer({
    minimum: 1,
    maximum: 1_000,
    default: 100,
    description: 'Tasks that one request may give, by count or as a list'
  }),
  TEMPLATES_DIR: Type.Optional(
    folderPath({ description: 'Folder of templates that every tenant sees: <name>.json, each as one would PUT it' })
  ),
  MAX_FOLLOWERS: Type.Integer({
    minimum: 1,
    maximum: 1_000_000,
    default: 10_000,
    description: 'Event streams, sockets and their subscriptions, at once in this process'
  })
}

type TaskApiConfig = Static<TObject<typeof taskApiConfig>>

/** What is configured of tasks: what they may hold and what holds for those that do not say. */
export const taskRulesOf = (
  config: TaskApiConfig
): Pick<TaskApiDeps, 'deniedClasses' | 'loraPrefixes' | 'maxGroupTasks' | 'maxFollowers' | 'defaults'> => ({
  deniedClasses: new Set(listed(config.DENIED_CLASSES)),
  loraPrefixes: loraPrefixesOf(config),
  maxGroupTasks: config.GROUP_MAX_TASKS,
  maxFollowers: config.MAX_FOLLOWERS,
  defaults: { timeoutSeconds: config.TASK_TIMEOUT_SECONDS, deadlineSeconds: config.TASK_DEADLINE_SECONDS }
})

type InputConfig = {
  readonly INPUT_MAX_BYTES: number
  readonly INPUT_MAX_PIXELS: number
  readonly INPUT_RETENTION_SECONDS: number
}

/** The bounds of inputs as configured. */
export const inputLimitsOf = (config: InputConfig): InputLimits => ({
  maxBytes: config.INPUT_MAX_BYTES,
  maxPixels: config.INPUT_MAX_PIXELS,
  keepMs: config.INPUT_RETENTION_SECONDS * 1_000
})

/** The prefixes that LORA_S3_PREFIXES names. */
export const loraPrefixesOf = ({ LORA_S3_PREFIXES }: { readonly LORA_S3_PREFIXES: string }): string[] =>
  listed(LORA_S3_PREFIXES)

const listed = (text: string): string[] =>
  text
    .split(',')
    .map(one => one.trim())
    .filter(one => one !== '')
