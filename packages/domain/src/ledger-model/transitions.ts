import type { EventType } from '@comfy-balancer/contract/event'
import { type RetryClass, retryRules } from '../retry.ts'
import { isTerminal, type LedgerState, shownState } from '../task-state.ts'
import { isInSlot, type LedgerModel, type ModelNode, type ModelTask, queuedTasks, withNode, withTask } from './model.ts'
import { withPoison } from './quarantine.ts'
import { priceOf, spend } from './tenants.ts'

/** A change that is worth telling: one version and one journal entry. */
export const recorded = (task: ModelTask, nowMs: number, type: EventType, reason?: string): ModelTask => {
  const version = task.version + 1
  const { attempt, node } = task
  const entry = { type, version, atMs: nowMs, state: shownState(task.state), attempt, node, reason }
  return { ...task, version, journal: [...task.journal, entry].slice(-64) }
}

/** A tenant that comes back to the queues starts where the fleet is: time in which it asked for nothing earns it nothing. */
export const joinQueue = (ledger: LedgerModel, task: ModelTask): LedgerModel => {
  const waits = queuedTasks(ledger).some(other => other.tenant === task.tenant)
  const start = ledger.starts.get(task.tenant) ?? 0
  const starts = waits ? ledger.starts : new Map(ledger.starts).set(task.tenant, Math.max(start, ledger.virtualTime))
  return withTask({ ...ledger, starts }, { ...task, state: 'queued' })
}

/** Ends a task for good. A slot that it still has is left to its node. */
export const finish = (
  ledger: LedgerModel,
  task: ModelTask,
  nowMs: number,
  state: LedgerState & ('succeeded' | 'failed' | 'cancelled' | 'expired'),
  reason?: string
): LedgerModel => withTask(ledger, recorded({ ...task, state }, nowMs, `task.${state}`, reason))

/** The tenant pays what the attempt used instead of what the claim predicted. */
const settle = (ledger: LedgerModel, task: ModelTask, nowMs: number, usedSeconds: number): LedgerModel => {
  const correction = (usedSeconds - task.charged) * priceOf(ledger, task.tenant)
  const starts = new Map(ledger.starts).set(task.tenant, (ledger.starts.get(task.tenant) ?? 0) + correction)
  return withTask(spend({ ...ledger, starts }, task.tenant, nowMs, usedSeconds), { ...task, charged: 0 })
}

/** Settles a task that ends while its node may still be at work: it is charged for as long as it held the slot. */
export const settleHeld = (ledger: LedgerModel, task: ModelTask, nowMs: number): LedgerModel =>
  settle(ledger, task, nowMs, (nowMs - task.claimedMs) / 1000)

export const emptySlot = (ledger: LedgerModel, node: ModelNode): LedgerModel =>
  withNode(ledger, { ...node, slot: undefined })

/** Takes a task out of its slot. */
export const leaveSlot = (ledger: LedgerModel, task: ModelTask, nowMs: number, usedSeconds: number): LedgerModel => {
  const settled = settle(ledger, task, nowMs, usedSeconds)
  const node = task.node === undefined ? undefined : ledger.nodes.get(task.node)
  return node?.slot?.token === task.token && node ? emptySlot(settled, node) : settled
}

/** How a class of retry is to be carried out. */
export type Retry = {
  readonly class: RetryClass
  readonly backoffMs: number
  readonly exhausted: string
  /** On the same node, once more. */
  readonly again?: boolean
  readonly vramAboveBytes?: number | undefined
}

/**
 * Sends a task that has left its slot back to its old place, at once or after a back-off, and away from the node that had it; fails it when
 * the budget of this class is used up. Nothing of the attempt stays valid.
 */
export const sendBack = (ledger: LedgerModel, id: string, nowMs: number, retry: Retry): LedgerModel => {
  const task = ledger.tasks.get(id)!
  const { budget } = retryRules[retry.class]
  const uses = (task.used[retry.class] ?? 0) + 1
  const worn: ModelTask = {
    ...task,
    used: { ...task.used, [retry.class]: uses },
    avoid: retry.class === 'hand-back' || retry.again ? task.avoid : including(task.avoid, task.node),
    downed: retry.class === 'comfyui-died' ? including(task.downed, task.node) : task.downed,
    stay: retry.again ? task.node : task.stay,
    vramAboveBytes: retry.vramAboveBytes ?? task.vramAboveBytes
  }
  if (uses > budget) {
    const refused = retry.class === 'comfyui-died' ? withPoison(ledger, worn, nowMs) : ledger
    return finish(refused, { ...worn, problem: retry.exhausted }, nowMs, 'failed', retry.class)
  }
  const free = { ...worn, token: undefined, outputs: 0 }
  const waiting: LedgerModel =
    retry.backoffMs > 0
      ? withTask(ledger, { ...free, state: 'delayed', backoffEndsMs: nowMs + retry.backoffMs })
      : joinQueue(ledger, free)
  const told = recorded(waiting.tasks.get(id)!, nowMs, 'task.retried', retry.class)
  return withTask(waiting, { ...told, node: undefined })
}

const including = (names: readonly string[], name: string | undefined): readonly string[] =>
  name === undefined || names.includes(name) ? names : [...names, name]

/** The task whose attempt this node's slot is for, while that is still so. */
export const taskInSlot = (ledger: LedgerModel, node: ModelNode): ModelTask | undefined => {
  const task = node.slot && ledger.tasks.get(node.slot.task)
  return task && isInSlot(task) && task.token === node.slot?.token ? task : undefined
}

/** The holder of a slot is gone: the slot ends, and a task that still is in it goes back. Answers that task. */
export const recover = (
  ledger: LedgerModel,
  node: ModelNode,
  nowMs: number
): { recovered: string | undefined; after: LedgerModel } => {
  const task = taskInSlot(ledger, node)
  if (!task) return { recovered: undefined, after: emptySlot(ledger, node) }
  const retry = { class: 'lost', backoffMs: 0, exhausted: 'attempts-exhausted' } as const
  return { recovered: task.id, after: sendBack(leaveSlot(ledger, task, nowMs, 0), task.id, nowMs, retry) }
}

/** What stands between a report about an attempt and the task: another attempt has it, or it has ended. */
export const fence = (task: ModelTask | undefined, token: string): 'ok' | 'stale' | 'terminal' => {
  if (task?.token !== token) return 'stale'
  return isTerminal(task.state) ? 'terminal' : 'ok'
}
