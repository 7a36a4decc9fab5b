import type { ShotRequest } from '@comfy-balancer/contract/generate'
import { type OutputFormat, outputFormatOf } from '@comfy-balancer/domain/output-format'
import type { Flaw, Workflow } from '@comfy-balancer/domain/workflow'
import type { Caller } from '@comfy-balancer/service-kit/caller'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { TaskApiDeps } from './deps.ts'
import { fromLedger } from './ledger-errors.ts'
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
  /** Places of the graph that come from elsewhere in the request. */
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
  const workflow = readOrRefuse(deps, shot.text)
  return { text: shot.text, workflow, count, seeds: ownSeeds, template, outputFormat: undefined, origins: new Map() }
}

const fromTemplate = async (
  deps: TaskApiDeps,
  { tenant }: Caller,
  shot: Pick<Shot, 'body' | 'text'>,
  name: string
): Promise<Runnable> => {
  if (shot.body.prompt) throw refused('/prompt', 'either-or', 'stands beside template: send one of the two')
  const template = await fromLedger(deps.templates.find(tenant, name))
  if (!template) throw refused('/template', 'unknown-template', `names ${name}, which there is no template of`)
  const { text, seeds, origins } = fillIn(template, shot, deps.exactText)
  const { output_config } = template.content
  const count = shot.body.count ?? (output_config?.quantity === 1 ? undefined : output_config?.quantity)
  const workflow = readOrRefuse(deps, text)
  return { text, workflow, count, seeds, template: name, outputFormat: outputFormatOf(output_config), origins }
}

const refuseWithout = ({ prompt, params, references }: ShotRequest): void => {
  if (prompt === undefined) throw refused('/prompt', 'required', 'is missing; send a prompt or the name of a template')
  if (params !== undefined) throw refused('/params', 'either-or', 'goes with a template, not with a prompt')
  if (references !== undefined) throw refused('/references', 'either-or', 'goes with a template, not with a prompt')
}

const refused = (pointer: string, code: string, what: string): Refusal => {
  const detail = `${pointer} ${what}`
  return new Refusal('validation-failed', detail, { errors: [{ pointer, code, detail }] })
}

const readOrRefuse = (deps: TaskApiDeps, text: string): Workflow => {
  const read = deps.readWorkflow(text)
  if ('flaws' in read) throw invalidWorkflow(read.flaws)
  return read.workflow
}

/** A graph that could never run. */
export const invalidWorkflow = (flaws: readonly Flaw[]): Refusal =>
  new Refusal('workflow-invalid', summaryOf(flaws), { errors: flaws })

/** Several flaws in one sentence. */
export const summaryOf = (flaws: readonly Flaw[]): string => {
  const [first] = flaws
  const more = flaws.length > 1 ? ` (and ${flaws.length - 1} more)` : ''
  return first ? `${first.pointer}: ${first.detail}${more}` : 'the workflow cannot run'
}
