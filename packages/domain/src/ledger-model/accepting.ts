import { isTerminal, type LedgerState } from '../task-state.ts'
import { isInSlot, type LedgerModel, type ModelTask, type Step } from './model.ts'
import { countGeneration, type Generations, type Quota, reachedQuota } from './tenants.ts'
import { finish, joinQueue, recorded, settleHeld } from './transitions.ts'

/** A task to be accepted; `headStartMs` is what its priority is worth. */
export type ModelRequest = Pick<
  ModelTask,
  'id' | 'tenant' | 'need' | 'models' | 'work' | 'timeoutMs' | 'fingerprint' | 'webhookEvents'
> & {
  readonly headStartMs: number
  readonly deadlineAfterMs: number
}

/** Tasks to be accepted together, as a group; or one that has the request's own id. */
export type ModelRequests = {
  readonly id: string
  readonly tenant: string
  readonly tasks: readonly ModelRequest[]
  readonly idempotency: { readonly key: string; readonly requestHash: string } | undefined
}

export type ModelAccepted =
  | { readonly kind: 'accepted'; readonly id: string; readonly generations: Generations | undefined }
  | { readonly kind: 'replayed'; readonly id: string }
  | Quota
  | { readonly kind: 'key-reused' }
  | { readonly kind: 'workflow-quarantined'; readonly task: string }
  | { readonly kind: 'queue-full'; readonly waiting: number }

const unclaimed = {
  version: 0,
  attempt: 0,
  token: undefined,
  tokens: [],
  node: undefined,
  claimedMs: 0,
  attemptDueMs: 0,
  charged: 0,
  backoffEndsMs: 0,
  used: {},
  avoid: [],
  downed: [],
  stay: undefined,
  vramAboveBytes: undefined,
  outputs: 0,
  problem: undefined,
  log: '',
  journal: []
}

/**
 * All tasks or none, once per id and per idempotency key; refused when a workflow is, when the tenant has no more to use, and when too many
 * wait, those in back-off included.
 */
export const enqueue = (ledger: LedgerModel, nowMs: number, request: ModelRequests): Step<ModelAccepted> => {
  const { id, tenant, tasks, idempotency: own } = request
  if (ledger.tasks.has(id) || ledger.groups.has(id))
    return { answer: { kind: 'accepted', id, generations: undefined }, after: ledger }
  const name = `${tenant}:${own?.key}`
  const known = own && ledger.idempotency.get(name)
  if (known && known.requestHash !== own.requestHash) return { answer: { kind: 'key-reused' }, after: ledger }
  if (known) return { answer: { kind: 'replayed', id: known.id }, after: ledger }
  const refused = refusal(ledger, nowMs, request)
  if (refused) return { answer: refused, after: ledger }

  const idempotency = own ? new Map(ledger.idempotency).set(name, { id, requestHash: own.requestHash }) : undefined
  const members = tasks.map(task => task.id)
  const groups = members[0] === id ? ledger.groups : new Map(ledger.groups).set(id, members)
  let after: LedgerModel = { ...ledger, groups, idempotency: idempotency ?? ledger.idempotency }
  let generations: Generations | undefined
  for (const task of tasks) {
    const counted = countGeneration(joinQueue(after, accepted(task, nowMs)), tenant, nowMs, task.id)
    after = counted.after
    generations = counted.generations
  }
  return { answer: { kind: 'accepted', id, generations }, after }
}

const refusal = (ledger: LedgerModel, nowMs: number, { tenant, tasks }: ModelRequests): ModelAccepted | undefined => {
  const poisons = tasks.map(({ fingerprint }) => ledger.poisons.get(`${tenant}:${fingerprint}`))
  const poison = poisons.find(found => found && found.untilMs > nowMs)
  if (poison) return { kind: 'workflow-quarantined', task: poison.task }
  const quota = reachedQuota(ledger, tenant, nowMs, tasks.length)
  if (quota) return quota
  const waiting = [...ledger.tasks.values()].filter(({ state }) => state === 'queued' || state === 'delayed').length
  return waiting + tasks.length > ledger.limits.maxQueued ? { kind: 'queue-full', waiting } : undefined
}

const accepted = ({ headStartMs, deadlineAfterMs, ...rest }: ModelRequest, nowMs: number): ModelTask => {
  const deadlineMs = deadlineAfterMs > 0 ? nowMs + deadlineAfterMs : 0
  const times = { createdMs: nowMs, orderMs: nowMs - headStartMs, deadlineMs }
  return recorded({ ...unclaimed, ...rest, ...times, state: 'queued' }, nowMs, 'task.queued')
}

/** Final at once, whatever the task does; its slot is left to the node, or to its end. Another tenant's task does not exist. */
export const cancel = (
  ledger: LedgerModel,
  nowMs: number,
  { task: id, tenant }: { readonly task: string; readonly tenant: string }
): Step<'cancelled' | 'not-found' | LedgerState> => {
  const task = ledger.tasks.get(id)
  if (task?.tenant !== tenant) return { answer: 'not-found', after: ledger }
  if (isTerminal(task.state)) return { answer: task.state, after: ledger }
  const settled = isInSlot(task) ? settleHeld(ledger, task, nowMs) : ledger
  return { answer: 'cancelled', after: finish(settled, settled.tasks.get(id)!, nowMs, 'cancelled') }
}
