import type { RetryClass } from '../retry.ts'
import {
  isAlive,
  isInSlot,
  type LedgerModel,
  type ModelNode,
  type ModelTask,
  type Step,
  withNode,
  withTask
} from './model.ts'
import { nodeFault, nodeSuccess } from './quarantine.ts'
import { isAtCap, priceOf } from './tenants.ts'
import { emptySlot, fence, finish, leaveSlot, type Retry, recorded, sendBack, taskInSlot } from './transitions.ts'

type Fenced = 'ok' | 'stale' | 'terminal'
type Report = { readonly task: string; readonly token: string }

export type ModelClaim = {
  readonly node: string
  readonly epoch: string
  readonly task: string
  readonly nonce: string
  readonly predictedSeconds: number
  readonly overtakes: readonly string[]
}

/** A free, live, willing node takes a queued task. The nonce becomes the attempt's token; it is good for this one attempt. */
export const claim = (
  ledger: LedgerModel,
  nowMs: number,
  { node: nodeId, epoch, task: taskId, nonce, predictedSeconds, overtakes }: ModelClaim
): Step<'claimed' | 'stale-node' | 'not-ready' | 'occupied' | 'not-queued' | 'at-cap'> => {
  const node = ledger.nodes.get(nodeId)
  if (node?.epoch !== epoch) return { answer: 'stale-node', after: ledger }
  if (node.slot?.token === nonce) return { answer: 'claimed', after: ledger }
  if (!isReady(ledger, node, nowMs)) return { answer: 'not-ready', after: ledger }
  if (node.slot) return { answer: 'occupied', after: ledger }
  const task = ledger.tasks.get(taskId)
  if (task?.state !== 'queued' || task.tokens.includes(nonce)) return { answer: 'not-queued', after: ledger }
  if (isAtCap(ledger, task.tenant, nowMs)) return { answer: 'at-cap', after: ledger }

  const { leaseMs } = ledger.limits
  const lateMs = nowMs + task.timeoutMs + leaseMs
  const held: ModelTask = {
    ...task,
    state: 'leased',
    attempt: task.attempt + 1,
    token: nonce,
    tokens: [...task.tokens, nonce],
    node: nodeId,
    stay: undefined,
    claimedMs: nowMs,
    charged: predictedSeconds,
    attemptDueMs: task.deadlineMs > 0 ? Math.min(lateMs, task.deadlineMs) : lateMs
  }
  const slot = { task: taskId, token: nonce, endsMs: nowMs + leaseMs }
  const taken = withNode(withTask(ledger, recorded(held, nowMs, 'task.dispatched')), { ...node, slot })
  return { answer: 'claimed', after: charged(taken, task.tenant, predictedSeconds, overtakes) }
}

const isReady = (ledger: LedgerModel, node: ModelNode, nowMs: number): boolean =>
  node.intent === 'ready' &&
  !node.isDrained &&
  node.restart === undefined &&
  node.quarantinedUntilMs <= nowMs &&
  isAlive(ledger, node, nowMs)

/** Fair queueing: the tenant pays what is predicted. The fleet's virtual time follows tasks that were taken in their turn. */
const charged = (ledger: LedgerModel, tenant: string, seconds: number, overtakes: readonly string[]): LedgerModel => {
  const start = ledger.starts.get(tenant) ?? 0
  const next = Math.max(start, ledger.virtualTime) + seconds * priceOf(ledger, tenant)
  const starts = new Map(ledger.starts).set(tenant, next)
  const overtaken = new Map(ledger.overtaken)
  overtaken.delete(tenant)
  for (const other of overtakes) overtaken.set(other, (overtaken.get(other) ?? 0) + 1)
  const virtualTime = overtakes.length === 0 ? Math.max(ledger.virtualTime, start) : ledger.virtualTime
  return { ...ledger, starts, overtaken, virtualTime }
}

/** ComfyUI has the prompt. */
export const start = (ledger: LedgerModel, nowMs: number, { task: id, token }: Report): Step<Fenced> => {
  const task = ledger.tasks.get(id)
  const answer = fence(task, token)
  if (answer !== 'ok' || task?.state !== 'leased') return { answer, after: ledger }
  return { answer, after: withTask(ledger, recorded({ ...task, state: 'running' }, nowMs, 'task.started')) }
}

/** Outputs become visible as they are stored: their number only grows within an attempt. */
const shown = (task: ModelTask, nowMs: number, outputs: number): ModelTask =>
  task.outputs >= outputs ? task : recorded({ ...task, outputs }, nowMs, 'task.output')

/** Outputs so far. */
export const output = (
  ledger: LedgerModel,
  nowMs: number,
  { task: id, token, outputs }: Report & { readonly outputs: number }
): Step<Fenced> => {
  const task = ledger.tasks.get(id)
  const answer = fence(task, token)
  if (answer !== 'ok' || !task) return { answer, after: ledger }
  return { answer, after: withTask(ledger, shown(task, nowMs, outputs)) }
}

/** Each attempt adds its log when it ends. Of too much the oldest lines go, and of one line that is too long its beginning. */
const withLog = (ledger: LedgerModel, task: ModelTask, text: string): ModelTask => ({
  ...task,
  log: text === '' ? task.log : lastLines(task.log + text, ledger.limits.maxLogBytes)
})

const lastLines = (text: string, max: number): string => {
  if (text.length <= max) return text
  const rests = [...text.matchAll(/\n(?=.)/gs)].map(({ index }) => text.slice(index + 1))
  return rests.find(rest => rest.length <= max) ?? text.slice(-max)
}

type End = Report & { readonly gpuSeconds: number; readonly log: string }

/** The attempt has its result. */
export const complete = (
  ledger: LedgerModel,
  nowMs: number,
  { task: id, token, outputs, gpuSeconds, log }: End & { readonly outputs: number }
): Step<Fenced> => {
  const task = ledger.tasks.get(id)
  const answer = fence(task, token)
  if (answer === 'terminal' && task?.state === 'succeeded') return { answer: 'ok', after: ledger }
  if (answer !== 'ok' || !task) return { answer, after: ledger }
  const free = leaveSlot(ledger, withLog(ledger, task, log), nowMs, gpuSeconds)
  const told = shown(free.tasks.get(id)!, nowMs, outputs)
  return { answer, after: finish(nodeSuccess(free, task.node!), { ...told, outputs }, nowMs, 'succeeded') }
}

/** The attempt ended without a result and no other would have one. */
export const fail = (
  ledger: LedgerModel,
  nowMs: number,
  { problem, ...end }: End & { readonly problem: string }
): Step<Failed> => {
  const { answer, free } = endWithout(ledger, nowMs, end)
  if (!free) return { answer, after: ledger }
  return { answer: 'failed', after: finish(free, { ...free.tasks.get(end.task)!, problem }, nowMs, 'failed') }
}

/** The attempt ended without a result, but another may have one. Tells for how long the node is left alone. */
export const retry = (
  ledger: LedgerModel,
  nowMs: number,
  { retry: how, ...end }: End & { readonly retry: Retry }
): Step<{ readonly kind: Failed; readonly quarantinedMs: number }> => {
  const { answer, free } = endWithout(ledger, nowMs, end)
  if (!free) return { answer: { kind: answer, quarantinedMs: 0 }, after: ledger }
  const task = free.tasks.get(end.task)!
  const { quarantinedMs, after: blamed } = isNodesFault(task, how.class)
    ? nodeFault(free, task.node!, nowMs)
    : { quarantinedMs: 0, after: free }
  const after = sendBack(blamed, task.id, nowMs, how)
  return { answer: { kind: after.tasks.get(task.id)?.state === 'failed' ? 'failed' : 'retried', quarantinedMs }, after }
}

/** The first ComfyUI that dies under a task is laid at its node's door, the next at the task's. */
const isNodesFault = (task: ModelTask, retryClass: RetryClass): boolean =>
  retryClass === 'node' || (retryClass === 'comfyui-died' && task.used['comfyui-died'] === undefined)

type Failed = 'retried' | 'failed' | 'stale' | 'terminal'

/** Takes the task out of its slot, unless the report is refused. */
const endWithout = (
  ledger: LedgerModel,
  nowMs: number,
  { task: id, token, gpuSeconds, log }: End
): { readonly answer: Failed; readonly free?: LedgerModel } => {
  const task = ledger.tasks.get(id)
  const fenced = fence(task, token)
  if (fenced === 'stale' || !task) return { answer: 'stale' }
  if (fenced === 'terminal') return { answer: task.state === 'failed' ? 'failed' : 'terminal' }
  return { answer: 'failed', free: leaveSlot(ledger, withLog(ledger, task, log), nowMs, gpuSeconds) }
}

/** The node's GPU is free of this attempt. A task that is still in the slot is handed back. */
export const release = (
  ledger: LedgerModel,
  nowMs: number,
  { node: nodeId, token }: { readonly node: string; readonly token: string }
): Step<'released' | 'not-held'> => {
  const node = ledger.nodes.get(nodeId)
  if (!node || node.slot?.token !== token) return { answer: 'not-held', after: ledger }
  const task = taskInSlot(ledger, node)
  if (!task || !isInSlot(task)) return { answer: 'released', after: emptySlot(ledger, node) }
  const handBack = { class: 'hand-back', backoffMs: 0, exhausted: 'attempts-exhausted' } as const
  return { answer: 'released', after: sendBack(leaveSlot(ledger, task, nowMs, 0), task.id, nowMs, handBack) }
}
