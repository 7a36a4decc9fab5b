import { createHash } from 'node:crypto'
import type { GenerateRequest, ShotRequest } from '@comfy-balancer/contract/generate'
import { type Admission, admit } from '@comfy-balancer/domain/admission'
import { fingerprintText } from '@comfy-balancer/domain/fingerprint'
import type { Flaw, Workflow } from '@comfy-balancer/domain/workflow'
import { type Caller, requireScope } from '@comfy-balancer/service-kit/caller'
import { blockedUrlFlaws } from '@comfy-balancer/service-kit/input-urls'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { Allowance } from '@comfy-balancer/service-kit/rate-limit'
import type { NewTask } from '@comfy-balancer/task-store/new-task'
import type { Left, OverQuota } from '@comfy-balancer/task-store/tasks'
import { uuidv7obj } from 'uuidv7'
import type { TaskApiDeps } from './deps.ts'
import { fromLedger } from './ledger-errors.ts'
import { inShot, type Shot, shotsOf } from './shots.ts'
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
export const accept = async (
  deps: TaskApiDeps,
  { caller, body, text, idempotencyKey }: Submission
): Promise<Acceptance> => {
  requireScope(caller, 'workflows:raw', 'a workflow of your own (prompt instead of template)')
  if (deps.isDraining()) throw new Refusal('draining', 'This service is shutting down; send the request to another one')
  const group = body.requests || body.count ? newId('group') : undefined
  const tasks = await tasksOf(deps, caller, shotsOf(deps, body, text), group)
  const idempotency = idempotencyKey === undefined ? undefined : { key: idempotencyKey, requestHash: hashOf(text) }
  const accepted = await fromLedger(
    group === undefined
      ? deps.ledger.tasks.enqueue({ ...tasks[0]!, idempotency })
      : deps.ledger.tasks.enqueueGroup({ id: group, tenant: caller.tenant, tasks, idempotency })
  )
  if (accepted.kind === 'key-reused') {
    throw new Refusal('idempotency-key-reused', 'This Idempotency-Key was used for another body in the last 24 hours')
  }
  if (accepted.kind === 'workflow-quarantined') {
    const detail = `the workflow took ComfyUI down on several nodes with ${accepted.task}; it is refused for another ${Math.ceil(accepted.leftMs / 1000)} s`
    throw new Refusal('workflow-quarantined', detail, { errors: [{ pointer: '/prompt', code: 'quarantined', detail }] })
  }
  if (accepted.kind === 'memory-full') {
    throw new Refusal('queue-full', 'The ledger is short of memory; nothing is accepted now', { retryAfterSeconds: 30 })
  }
  if (accepted.kind === 'queue-full') {
    throw new Refusal('queue-full', `${accepted.waiting} tasks wait already`, { retryAfterSeconds: 30 })
  }
  if (accepted.kind === 'over-quota') throw quotaExceeded(accepted)
  if (accepted.kind === 'replayed') return { id: accepted.id, replayed: true, tasks: [], generations: undefined }
  const generations = accepted.generations && allowanceOf(accepted.generations)
  return { id: accepted.id, replayed: false, tasks: tasks.map(task => task.id), generations }
}

const allowanceOf = ({ limit, left, backMs }: Left): Allowance => ({
  policy: 'generations',
  limit,
  windowSeconds: 3_600,
  left,
  resetSeconds: backMs / 1_000
})

const quotaWords = {
  maxQueued: 'tasks of this tenant wait already, as many as may',
  generationsPerHour: 'tasks of this tenant were accepted in the last hour, as many as may be',
  gpuSecondsPerDay: 'GPU-seconds of this tenant are used up until midnight UTC'
} as const

const quotaExceeded = ({ limit, most, againMs }: OverQuota): Refusal =>
  new Refusal('quota-exceeded', `${most} ${quotaWords[limit]}`, {
    retryAfterSeconds: againMs / 1_000,
    allowance: limit === 'generationsPerHour' ? allowanceOf({ limit: most, left: 0, backMs: againMs }) : undefined
  })

const newId = (kind: 'task' | 'group'): string => `${kind}_${uuidv7obj().toHex()}`

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex')

const tasksOf = async (
  deps: TaskApiDeps,
  { tenant }: Caller,
  shots: readonly Shot[],
  group: string | undefined
): Promise<NewTask[]> => {
  const tasks: NewTask[] = []
  for (const shot of shots) {
    const made = await inShot(shot, () => shotTasks(deps, shot, tasks.length))
    tasks.push(...made.map(task => ({ ...task, tenant, group })))
  }
  const bytes = tasks.reduce((sum, { body }) => sum + Buffer.byteLength(body), 0)
  if (tasks.length === 1 || bytes <= maxGroupBytes) return tasks
  throw new Refusal('payload-too-large', `The group's requests are ${bytes} bytes; the limit is ${maxGroupBytes}`)
}

const shotTasks = async (
  deps: TaskApiDeps,
  { body, text }: Shot,
  before: number
): Promise<Omit<NewTask, 'tenant'>[]> => {
  if (before + (body.count ?? 1) > deps.maxGroupTasks) throw tooMany(deps.maxGroupTasks, body)
  const metadata = metadataOf(body)
  const workflow = workflowOf(deps, body, text)
  const { need, outputs, work, fingerprint } = await admission(deps, body, workflow)
  return variantsOf(deps, { body, text, workflow }).map(variant => ({
    id: newId('task'),
    body: variant.text,
    seed: variant.seed,
    need,
    outputs,
    work,
    fingerprint,
    priority: body.priority ?? 50,
    timeoutSeconds: body.timeoutSeconds ?? deps.defaults.timeoutSeconds,
    deadlineSeconds: body.deadlineSeconds ?? deps.defaults.deadlineSeconds,
    clientId: body.client_id,
    metadata,
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

const workflowOf = (deps: TaskApiDeps, body: ShotRequest, text: string): Workflow => {
  if (body.prompt === undefined) {
    const detail = '/prompt is missing'
    throw new Refusal('validation-failed', detail, { errors: [{ pointer: '/prompt', code: 'required', detail }] })
  }
  const read = deps.readWorkflow(text)
  if ('flaws' in read) throw invalid(read.flaws)
  return read.workflow
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
  if (verdict.kind === 'invalid') throw invalid(verdict.flaws)
  if (verdict.kind === 'incapable') {
    throw new Refusal('no-capable-node', summary(verdict.flaws), { errors: verdict.flaws })
  }
  const isUpload = (classType: string, input: string) => nodes.some(node => node.capability.isUpload(classType, input))
  const urlFlaws = blockedUrlFlaws(workflow, { outputs: verdict.admission.outputs, isUpload }, deps.urlRules)
  if (urlFlaws.length > 0) throw new Refusal('input-url-blocked', summary(urlFlaws), { errors: urlFlaws })
  return { ...verdict.admission, fingerprint: hashOf(fingerprintText(workflow)).slice(0, 32) }
}

const invalid = (flaws: readonly Flaw[]): Refusal => new Refusal('workflow-invalid', summary(flaws), { errors: flaws })

const summary = (flaws: readonly Flaw[]): string => {
  const [first] = flaws
  const more = flaws.length > 1 ? ` (and ${flaws.length - 1} more)` : ''
  return first ? `${first.pointer}: ${first.detail}${more}` : 'the workflow cannot run'
}
