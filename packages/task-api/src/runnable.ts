import type { ShotRequest } from '@comfy-balancer/contract/generate'
import type { TemplateContent } from '@comfy-balancer/contract/template'
import { broughtUsesOf } from '@comfy-balancer/domain/brought-names'
import { type OutputFormat, outputFormatOf } from '@comfy-balancer/domain/output-format'
import type { Flaw, Workflow } from '@comfy-balancer/domain/workflow'
import type { Caller } from '@comfy-balancer/service-kit/caller'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { TaskApiDeps } from './deps.ts'
import type { BroughtLoras } from './inputs/brought-loras.ts'
import type { Bringing } from './inputs/brought-names.ts'
import { fromLedger } from './ledger-errors.ts'
import { objectText } from './object-text.ts'
import type { Shot } from './shots.ts'
import { fillIn } from './templates/fill-in.ts'
import { ownSeeds, type SeedPlan } from './variants.ts'

/** A shot as it would run, but for its seeds: with its graph, whether it brought that along or named a template. */
export type Runnable = {
  readonly text: string
  readonly workflow: Workflow
  readonly count: number | undefined
  readonly seeds: SeedPlan
  readonly template: string | undefined
  readonly outputFormat: OutputFormat | undefined
  /** The files that come along: the request's, and those of its references and its template. */
  readonly brought: Bringing
  /** Places of the graph and of what comes along that stand elsewhere in the request. */
  readonly origins: ReadonlyMap<string, string>
}

/** Reads a shot's graph, or makes it from the template that it names. Throws a Refusal. */
export const runnableOf = async (
  deps: TaskApiDeps,
  caller: Caller,
  shot: Pick<Shot, 'body' | 'text'>
): Promise<Runnable> => {
  const { template, count } = shot.body
  if (template !== undefined) return fromTemplate(deps, caller, shot, template)
  refuseWithout(shot.body)
  const workflow = readOrRefuse(deps, shot.body.prompt)
  const none = { template, outputFormat: undefined, origins: new Map<string, string>() }
  return { text: shot.text, workflow, count, seeds: ownSeeds, brought: shot.body, ...none }
}

const fromTemplate = async (
  deps: TaskApiDeps,
  { tenant }: Caller,
  shot: Pick<Shot, 'body' | 'text'>,
  name: string
): Promise<Runnable> => {
  if (shot.body.prompt) throw refused('/prompt', 'either-or', 'stands beside template: send one of the two')
  const template = await fromLedger(deps.templates.find(tenant, name))
  if (!template) throw refused('/template', 'unknown-template', `names ${name}, but there is no such template`)
  const { text, seeds, inputs, origins } = fillIn(template, shot, deps.exactText)
  const { output_config } = template.content
  const count = shot.body.count ?? (output_config?.quantity === 1 ? undefined : output_config?.quantity)
  const workflow = readOrRefuse(deps, JSON.parse(text).prompt)
  const own = shot.body.loras ?? []
  const loras = [...own, ...lorasOf(template.content, workflow, own)]
  const brought = { inputs: { ...shot.body.inputs, ...inputs }, loras }
  return {
    ...{ workflow, count, seeds, brought, template: name, outputFormat: outputFormatOf(output_config) },
    text: textWith(deps, text, brought),
    origins: new Map([
      ...origins,
      ...loras.flatMap((_, at) =>
        at < own.length ? [] : loraPlaces.map(part => [`/loras/${at}/${part}`, '/template'] as const)
      )
    ])
  }
}

const loraPlaces = ['name', 'source']

/** What a template's LoRAs bring along to this workflow: those that it uses, and that the request does not bring itself. */
const lorasOf = ({ loras = {} }: TemplateContent, workflow: Workflow, own: BroughtLoras): BroughtLoras => {
  const known = new Set(own.map(({ name }) => name))
  const sourced = Object.values(loras).flatMap(lora =>
    lora.source === undefined ? [] : [{ ...lora, source: lora.source }]
  )
  const used = broughtUsesOf(workflow, new Set(sourced.map(({ name }) => name)))
  return sourced.filter(({ name }) => !known.has(name) && used.some(use => use.name === name))
}

/** The text of a request with everything in it that comes along. */
const textWith = ({ exactText }: TaskApiDeps, text: string, { inputs = {}, loras = [] }: Bringing): string =>
  objectText({
    ...Object.fromEntries(exactText.membersOf(text)),
    ...(Object.keys(inputs).length > 0 && { inputs: JSON.stringify(inputs) }),
    ...(loras.length > 0 && { loras: JSON.stringify(loras) })
  })

const refuseWithout = ({ prompt, params, references }: ShotRequest): void => {
  if (prompt === undefined) throw refused('/prompt', 'required', 'is missing; send a prompt or the name of a template')
  if (params !== undefined) throw refused('/params', 'either-or', 'goes with a template, not with a prompt')
  if (references !== undefined) throw refused('/references', 'either-or', 'goes with a template, not with a prompt')
}

const refused = (pointer: string, code: string, what: string): Refusal => {
  const detail = `${pointer} ${what}`
  return new Refusal('validation-failed', detail, { errors: [{ pointer, code, detail }] })
}

const readOrRefuse = (deps: TaskApiDeps, prompt: unknown): Workflow => {
  const read = deps.readGraph(prompt)
  if ('flaws' in read) throw invalidWorkflow(read.flaws)
  return read.workflow
}

/** A graph that could never run. */
export const invalidWorkflow = (flaws: readonly Flaw[]): Refusal =>
  new Refusal('workflow-invalid', summaryOf(flaws), { errors: flaws })

/** Refuses classes that operators do not allow, whether they would run or not. */
export const refuseDenied = ({ graphNodes }: Workflow, denied: ReadonlySet<string>): void => {
  const flaws = [...graphNodes.values()]
    .filter(({ classType }) => denied.has(classType))
    .map(({ id, classType }) => {
      const pointer = `/prompt/${id.replaceAll('~', '~0').replaceAll('/', '~1')}/class_type`
      return { pointer, code: 'class-not-allowed', detail: `${classType} is not allowed here` }
    })
  if (flaws.length > 0) throw new Refusal('workflow-class-not-allowed', summaryOf(flaws), { errors: flaws })
}

/** Several flaws in one sentence. */
export const summaryOf = (flaws: readonly Flaw[]): string => {
  const [first] = flaws
  const more = flaws.length > 1 ? ` (and ${flaws.length - 1} more)` : ''
  return first ? `${first.pointer}: ${first.detail}${more}` : 'the workflow cannot run'
}
