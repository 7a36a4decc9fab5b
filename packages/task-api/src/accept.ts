import { createHash } from 'node:crypto'
import type { GenerateRequest, ShotRequest } from '@comfy-balancer/contract/generate'
import { type Admission, admit } from '@comfy-balancer/domain/admission'
import { withoutBrought } from '@comfy-balancer/domain/brought-names'
import { fingerprintText } from '@comfy-balancer/domain/fingerprint'
import { type Caller, requireScope } from '@comfy-balancer/service-kit/caller'
import { blockedUrlFlaws } from '@comfy-balancer/service-kit/input-urls'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { Allowance } from '@comfy-balancer/service-kit/rate-limit'
import type { Idempotency, NewTask } from '@comfy-balancer/task-store/new-task'
import type { FoundTask } from '@comfy-balancer/task-store/tasks'
import { uuidv7obj } from 'uuidv7'
import type { TaskApiDeps } from './deps.ts'
import { type Keeping, keepBrought, refuseBlockedUrls } from './inputs/brought-files.ts'
import { labelsForLoras, refuseUnfitLoras } from './inputs/brought-loras.ts'
import { readBroughtNames, refuseUnused, usedNames } from './inputs/brought-names.ts'
import { type SetAside, setAside } from './inputs/set-aside.ts'
import { fromLedger } from './ledger-errors.ts'
import { allowanceOf, refusalOf } from './not-accepted.ts'
import { webhookOf } from './requested-webhook.ts'
import { invalidWorkflow, type Runnable, refuseDenied, runnableOf, summaryOf } from './runnable.ts'
import { inShot, type Shot, shotsOf, withPlaces } from './shots.ts'
import { variantsOf } from './variants.ts'

const maxMetadataBytes = 4_096
/** Of all requests of a group together, as they are stored. */
const maxGroupBytes = 32 * 2 ** 20

/** A request to accept: whose it is, its parsed form, its text and its idempotency key. */
export type Submission = {
  readonly caller: Caller
  readonly body: GenerateRequest
  readonly text: string
  readonly idempotencyKey: string | undefined
  readonly traceId: string | undefined
}

/** What came of a request: the id of its task or group, whether it had been accepted before, otherwise the new tasks, and what its tenant has left to accept. */
export type Acceptance = {
  readonly id: string
  readonly replayed: boolean
  readonly tasks: readonly string[]
  /** How a single new task stood. */
  readonly task: FoundTask | undefined
  readonly generations: Allowance | undefined
}

/** `soonestEnd`: in how many seconds a full queue gets shorter. */
export type AcceptDeps = TaskApiDeps & { readonly soonestEnd: () => Promise<number> }

/** Admits a request and writes it into the ledger: as a task, or all tasks of a group together. Throws a Refusal. */
export const accept = async (deps: AcceptDeps, submission: Submission): Promise<Acceptance> => {
  if (deps.isDraining()) throw new Refusal('draining', 'This service is shutting down; send the request to another one')
  const { caller } = submission
  const { body, text, files } = setAside(deps.exactText, submission.body, submission.text, deps.inputs.limits)
  const shots = shotsOf(deps, body, text)
  if (shots.some(shot => shot.body.prompt !== undefined)) {
    requireScope(caller, 'workflows:raw', 'a workflow of your own (prompt instead of template)')
  }
  const made = await tasksOf(deps, caller, { body, shots, files }).catch(error => replayOr(error, deps, submission))
  if ('replayed' in made) return made
  const { tenant } = caller
  const group = body.requests || body.count || made.length > 1 ? newId('group') : undefined
  const tasks = made.map(task => ({ ...task, group, traceId: submission.traceId }))
  const idempotency = idempotencyOf(submission)
  const accepted = await fromLedger(
    group === undefined
      ? deps.ledger.tasks.enqueue({ ...tasks[0]!, idempotency })
      : deps.ledger.tasks.enqueueGroup({ id: group, tenant, tasks, idempotency })
  )
  if (!('id' in accepted)) throw await refusalOf(accepted, deps.soonestEnd)
  if (accepted.kind === 'replayed') return replayed(accepted.id)
  const generations = accepted.generations && allowanceOf(accepted.generations)
  return { id: accepted.id, replayed: false, tasks: tasks.map(({ id }) => id), task: accepted.task, generations }
}

const replayed = (id: string): Acceptance => ({
  id,
  replayed: true,
  tasks: [],
  task: undefined,
  generations: undefined
})

/** What was accepted once is answered again, though it would be refused by now: its template may be gone, or the nodes that could run it. */
const replayOr = async (error: unknown, { ledger }: TaskApiDeps, submission: Submission): Promise<Acceptance> => {
  const idempotency = idempotencyOf(submission)
  const id = idempotency && (await fromLedger(ledger.tasks.accepted(submission.caller.tenant, idempotency)))
  if (id === undefined) throw error
  return replayed(id)
}

const idempotencyOf = ({ text, idempotencyKey: key }: Submission): Idempotency | undefined =>
  key === undefined ? undefined : { key, requestHash: hashOf(text) }

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex')

const newId = (kind: 'task' | 'group'): string => `${kind}_${uuidv7obj().toHex()}`

/** A file is kept so much longer than its task may take. */
const spareMs = 3_600_000

type Request = { readonly body: GenerateRequest; readonly shots: readonly Shot[]; readonly files: SetAside['files'] }

const tasksOf = async (deps: TaskApiDeps, caller: Caller, { body, shots, files }: Request): Promise<NewTask[]> => {
  const tasks: NewTask[] = []
  const used = new Set<string>()
  const keepings: Keeping[] = []
  for (const shot of shots) {
    const made = await inShot(shot, () => shotTasks(deps, caller, shot, tasks.length))
    tasks.push(...made.tasks)
    for (const name of made.used) used.add(name)
    keepings.push({ ...made, atLeastMs: deadlineOf(deps, shot.body) * 1_000 + spareMs })
  }
  refuseUnused(body, used)
  const bytes = tasks.reduce((sum, task) => sum + Buffer.byteLength(task.body), 0)
  if (tasks.length > 1 && bytes > maxGroupBytes) {
    throw new Refusal('payload-too-large', `The group's requests are ${bytes} bytes; the limit is ${maxGroupBytes}`)
  }
  await keepBrought(deps.inputs, caller.tenant, keepings, files)
  return tasks
}

const deadlineOf = ({ defaults }: TaskApiDeps, { deadlineSeconds }: ShotRequest): number =>
  deadlineSeconds ?? defaults.deadlineSeconds

type Made = Omit<Keeping, 'atLeastMs'> & { readonly tasks: readonly NewTask[]; readonly used: ReadonlySet<string> }

const shotTasks = async (deps: TaskApiDeps, caller: Caller, shot: Shot, before: number): Promise<Made> => {
  const { body } = shot
  const metadata = metadataOf(body)
  const webhook = webhookOf(body, deps)
  refuseBlockedUrls(body, deps.urlRules)
  const runnable = await runnableOf(deps, caller, shot)
  const { template, outputFormat, brought, origins, count = 1 } = runnable
  const placeOf = (pointer: string): string => origins.get(pointer) ?? pointer
  if (before + count > deps.maxGroupTasks) throw tooMany(deps.maxGroupTasks, body)
  const { used, need, outputs, work, fingerprint } = await withPlaces(
    () => admission(deps, caller, shot, runnable),
    placeOf
  )
  const tasks = variantsOf(deps.exactText, runnable).map(variant => ({
    id: newId('task'),
    tenant: caller.tenant,
    body: variant.text,
    seed: variant.seed,
    template,
    outputFormat,
    need,
    outputs,
    work,
    fingerprint,
    priority: body.priority ?? 50,
    timeoutSeconds: body.timeoutSeconds ?? deps.defaults.timeoutSeconds,
    deadlineSeconds: deadlineOf(deps, body),
    clientId: body.client_id,
    metadata,
    webhook,
    idempotency: undefined
  }))
  return { tasks, used, brought, placeOf: pointer => shot.pointer + placeOf(pointer) }
}

const tooMany = (most: number, { count }: ShotRequest): Refusal => {
  const detail = `a group has at most ${most} tasks`
  const pointer = count === undefined ? '' : '/count'
  return new Refusal('validation-failed', detail, { errors: [{ pointer, code: 'too-many', detail }] })
}

const metadataOf = (body: ShotRequest): Record<string, unknown> => {
  const metadata = body.metadata ?? {}
  if (Buffer.byteLength(JSON.stringify(metadata)) <= maxMetadataBytes) return metadata as Record<string, unknown>
  const detail = `metadata is larger than ${maxMetadataBytes} bytes`
  throw new Refusal('validation-failed', detail, { errors: [{ pointer: '/metadata', code: 'too-large', detail }] })
}

type Admitted = Admission & { readonly fingerprint: string; readonly used: ReadonlySet<string> }

const admission = async (
  deps: TaskApiDeps,
  { tenant }: Caller,
  { own, body: { inputs: named = {}, nodeSelector } }: Shot,
  { workflow, brought }: Runnable
): Promise<Admitted> => {
  const { inputs = {}, loras = [] } = brought
  const names = readBroughtNames(brought)
  const used = usedNames(workflow, names)
  refuseUnused(own, used)
  refuseUnused({ inputs: Object.fromEntries(Object.entries(inputs).filter(([name]) => !(name in named))) }, used)
  refuseDenied(workflow, deps.deniedClasses)
  const nodes = await fromLedger(deps.knownNodes())
  if (nodes.length === 0) {
    throw new Refusal('fleet-unavailable', 'No node has been seen yet: start a comfy-service', {
      retryAfterSeconds: 10
    })
  }
  refuseUnfitLoras(loras, tenant, { s3Prefixes: deps.loraPrefixes, nodes })
  const labels = { ...nodeSelector, ...deps.pinnedTo, ...labelsForLoras(loras) }
  const verdict = admit(withoutBrought(workflow, names), labels, nodes)
  if (verdict.kind === 'invalid') throw invalidWorkflow(verdict.flaws)
  if (verdict.kind === 'incapable') {
    throw new Refusal('no-capable-node', summaryOf(verdict.flaws), { errors: verdict.flaws })
  }
  const isUpload = (classType: string, input: string) => nodes.some(node => node.capability.isUpload(classType, input))
  const urlFlaws = blockedUrlFlaws(workflow, { outputs: verdict.admission.outputs, isUpload }, deps.urlRules)
  if (urlFlaws.length > 0) throw new Refusal('input-url-blocked', summaryOf(urlFlaws), { errors: urlFlaws })
  const files = names.size === 0 ? '' : JSON.stringify([inputs, loras])
  return { ...verdict.admission, used, fingerprint: hashOf(fingerprintText(workflow) + files).slice(0, 32) }
}
