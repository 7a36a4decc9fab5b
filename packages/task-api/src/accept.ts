import { createHash } from 'node:crypto'
import type { GenerateRequest, ShotRequest } from '@comfy-balancer/contract/generate'
import { type Admission, admit } from '@comfy-balancer/domain/admission'
import { fingerprintText } from '@comfy-balancer/domain/fingerprint'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import { type Caller, requireScope } from '@comfy-balancer/service-kit/caller'
import { blockedUrlFlaws } from '@comfy-balancer/service-kit/input-urls'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { Allowance } from '@comfy-balancer/service-kit/rate-limit'
import type { Idempotency, NewTask } from '@comfy-balancer/task-store/new-task'
import { uuidv7obj } from 'uuidv7'
import type { TaskApiDeps } from './deps.ts'
import { fromLedger } from './ledger-errors.ts'
import { allowanceOf, refusalOf } from './not-accepted.ts'
import { webhookOf } from './requested-webhook.ts'
import { invalidWorkflow, runnableOf, summaryOf } from './runnable.ts'
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
}

/** What came of a request: the id of its task or group, whether it had been accepted before, otherwise the new tasks, and what its tenant has left to accept. */
export type Acceptance = {
  readonly id: string
  readonly replayed: boolean
  readonly tasks: readonly string[]
  readonly generations: Allowance | undefined
}

/** Admits a request and writes it into the ledger: as a task, or all tasks of a group together. Throws a Refusal. */
export const accept = async (deps: TaskApiDeps, submission: Submission): Promise<Acceptance> => {
  if (deps.isDraining()) throw new Refusal('draining', 'This service is shutting down; send the request to another one')
  const { caller, body, text } = submission
  const shots = shotsOf(deps, body, text)
  if (shots.some(shot => shot.body.prompt !== undefined)) {
    requireScope(caller, 'workflows:raw', 'a workflow of your own (prompt instead of template)')
  }
  const made = await tasksOf(deps, caller, shots).catch(error => replayOr(error, deps, submission))
  if ('replayed' in made) return made
  const { tenant } = caller
  const group = body.requests || body.count || made.length > 1 ? newId('group') : undefined
  const tasks = made.map(task => ({ ...task, group }))
  const idempotency = idempotencyOf(submission)
  const accepted = await fromLedger(
    group === undefined
      ? deps.ledger.tasks.enqueue({ ...tasks[0]!, idempotency })
      : deps.ledger.tasks.enqueueGroup({ id: group, tenant, tasks, idempotency })
  )
  if (!('id' in accepted)) throw refusalOf(accepted)
  if (accepted.kind === 'replayed') return replayed(accepted.id)
  const generations = accepted.generations && allowanceOf(accepted.generations)
  return { id: accepted.id, replayed: false, tasks: tasks.map(task => task.id), generations }
}

const replayed = (id: string): Acceptance => ({ id, replayed: true, tasks: [], generations: undefined })

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

const tasksOf = async (deps: TaskApiDeps, caller: Caller, shots: readonly Shot[]): Promise<NewTask[]> => {
  const tasks: NewTask[] = []
  for (const shot of shots) tasks.push(...(await inShot(shot, () => shotTasks(deps, caller, shot, tasks.length))))
  const bytes = tasks.reduce((sum, { body }) => sum + Buffer.byteLength(body), 0)
  if (tasks.length === 1 || bytes <= maxGroupBytes) return tasks
  throw new Refusal('payload-too-large', `The group's requests are ${bytes} bytes; the limit is ${maxGroupBytes}`)
}

const shotTasks = async (deps: TaskApiDeps, caller: Caller, shot: Shot, before: number): Promise<NewTask[]> => {
  const { body } = shot
  const metadata = metadataOf(body)
  const webhook = webhookOf(body, deps)
  const runnable = await runnableOf(deps, caller, shot)
  const { workflow, template, outputFormat, origins, count = 1 } = runnable
  if (before + count > deps.maxGroupTasks) throw tooMany(deps.maxGroupTasks, body)
  const { need, outputs, work, fingerprint } = await withPlaces(
    () => admission(deps, body, workflow),
    pointer => origins.get(pointer) ?? pointer
  )
  return variantsOf(deps.exactText, runnable).map(variant => ({
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
    deadlineSeconds: body.deadlineSeconds ?? deps.defaults.deadlineSeconds,
    clientId: body.client_id,
    metadata,
    webhook,
    idempotency: undefined
  }))
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

const admission = async (
  deps: TaskApiDeps,
  body: ShotRequest,
  workflow: Workflow
): Promise<Admission & { readonly fingerprint: string }> => {
  const nodes = await fromLedger(deps.knownNodes())
  if (nodes.length === 0) {
    throw new Refusal('fleet-unavailable', 'No node has been seen yet: start a comfy-service', {
      retryAfterSeconds: 10
    })
  }
  const verdict = admit(workflow, { ...body.nodeSelector, ...deps.pinnedTo }, nodes)
  if (verdict.kind === 'invalid') throw invalidWorkflow(verdict.flaws)
  if (verdict.kind === 'incapable') {
    throw new Refusal('no-capable-node', summaryOf(verdict.flaws), { errors: verdict.flaws })
  }
  const isUpload = (classType: string, input: string) => nodes.some(node => node.capability.isUpload(classType, input))
  const urlFlaws = blockedUrlFlaws(workflow, { outputs: verdict.admission.outputs, isUpload }, deps.urlRules)
  if (urlFlaws.length > 0) throw new Refusal('input-url-blocked', summaryOf(urlFlaws), { errors: urlFlaws })
  return { ...verdict.admission, fingerprint: hashOf(fingerprintText(workflow)).slice(0, 32) }
}
