import type { EventType } from '@comfy-balancer/contract/event'
import type { TaskState } from '@comfy-balancer/contract/task'
import type { TenantLimits } from '@comfy-balancer/contract/tenant'
import type { RetryClass } from '../retry.ts'
import { isTerminal, type LedgerState } from '../task-state.ts'

/** The bounds that the rules depend on; ms unless the name says otherwise. */
export type ModelLimits = {
  readonly leaseMs: number
  readonly aliveMs: number
  readonly blindMs: number
  readonly keepNodeMs: number
  readonly maxQueued: number
  readonly maxLogBytes: number
  readonly quarantineFaults: number
  readonly quarantineMs: number
  readonly maxQuarantineMs: number
  readonly quarantineShare: number
  readonly poisonMs: number
}

/** One line of a task's journal. */
export type ModelEntry = {
  readonly type: EventType
  readonly version: number
  readonly atMs: number
  readonly state: TaskState
  readonly attempt: number
  readonly node: string | undefined
  readonly reason: string | undefined
}

/** A task. Its state alone says where it is: in its queue, in back-off, in a slot, or nowhere any more. */
export type ModelTask = {
  readonly id: string
  readonly tenant: string
  readonly need: string
  readonly models: readonly string[]
  readonly work: number
  readonly fingerprint: string
  /** What its webhook waits for: each such entry of its journal is owed to it, once. */
  readonly webhookEvents: readonly EventType[]
  readonly orderMs: number
  readonly timeoutMs: number
  readonly createdMs: number
  /** 0 when the task has none. */
  readonly deadlineMs: number
  readonly state: LedgerState
  readonly version: number
  readonly attempt: number
  /** The attempt that may write about it; stays with an ended task, so that a repeated report is known. */
  readonly token: string | undefined
  /** Every token it ever had: none comes twice. */
  readonly tokens: readonly string[]
  readonly node: string | undefined
  readonly claimedMs: number
  readonly attemptDueMs: number
  /** GPU-seconds that the claim charged and the end has yet to correct. */
  readonly charged: number
  readonly backoffEndsMs: number
  readonly used: Readonly<Partial<Record<RetryClass, number>>>
  readonly avoid: readonly string[]
  /** Nodes whose ComfyUI died under it. */
  readonly downed: readonly string[]
  /** The node that is to try it once more. */
  readonly stay: string | undefined
  /** So much VRAM was too little. */
  readonly vramAboveBytes: number | undefined
  readonly outputs: number
  /** What it ended with: the code of its problem. */
  readonly problem: string | undefined
  readonly log: string
  readonly journal: readonly ModelEntry[]
}

/** A node and its one slot. */
export type ModelNode = {
  readonly id: string
  readonly epoch: string
  readonly url: string
  readonly intent: 'ready' | 'draining' | 'occupied'
  /** Its last sign of life. */
  readonly beatMs: number
  readonly isDrained: boolean
  /** The wish to restart its ComfyUI that holds, and the one that was fulfilled last. */
  readonly restart: string | undefined
  readonly restarted: string | undefined
  /** Attempts that it failed in a row since it was last left alone, and how often that was. */
  readonly faults: number
  readonly quarantines: number
  readonly quarantinedUntilMs: number
  readonly slot: { readonly task: string; readonly token: string; readonly endsMs: number } | undefined
}

/**
 * The ledger as a person would explain it: tasks, nodes and who is owed GPU time. Queues, counters and what waits for a model follow from
 * the tasks' states. Its commands are the ledger's, told the time; model.test.ts compares the two.
 */
export type LedgerModel = {
  readonly limits: ModelLimits
  readonly tasks: ReadonlyMap<string, ModelTask>
  readonly nodes: ReadonlyMap<string, ModelNode>
  /** The tasks of each group. */
  readonly groups: ReadonlyMap<string, readonly string[]>
  /** By tenant and key. */
  readonly idempotency: ReadonlyMap<string, { readonly id: string; readonly requestHash: string }>
  /** Fair queueing: how far the fleet is, and where each tenant's next task starts, in GPU-seconds. */
  readonly virtualTime: number
  readonly starts: ReadonlyMap<string, number>
  readonly overtaken: ReadonlyMap<string, number>
  readonly lastSweepMs: number
  readonly guardedMs: number
  /** How often any node was left alone. */
  readonly nodeQuarantines: number
  readonly tenants: ReadonlyMap<string, TenantLimits>
  /** By tenant, the tasks of the last hour that were counted, with their times. */
  readonly generated: ReadonlyMap<string, ReadonlyMap<string, number>>
  /** GPU-seconds by tenant and day. */
  readonly spent: ReadonlyMap<string, number>
  /** Workflows that are refused for a while, by tenant and fingerprint. */
  readonly poisons: ReadonlyMap<string, Poison>
}

/** Why a workflow is refused, and until when. */
export type Poison = {
  readonly task: string
  readonly nodes: readonly string[]
  readonly sinceMs: number
  readonly untilMs: number
}

/** What a command answers, and the ledger after it. */
export type Step<Answer> = { readonly answer: Answer; readonly after: LedgerModel }

/** A ledger in which nothing happened yet. */
export const emptyModel = (limits: ModelLimits): LedgerModel => ({
  limits,
  tasks: new Map(),
  nodes: new Map(),
  groups: new Map(),
  idempotency: new Map(),
  virtualTime: 0,
  starts: new Map(),
  overtaken: new Map(),
  lastSweepMs: 0,
  guardedMs: 0,
  nodeQuarantines: 0,
  tenants: new Map(),
  generated: new Map(),
  spent: new Map(),
  poisons: new Map()
})

/** The ledger with one task put in place of its former self. */
export const withTask = (ledger: LedgerModel, task: ModelTask): LedgerModel => ({
  ...ledger,
  tasks: new Map(ledger.tasks).set(task.id, task)
})

/** The ledger with one node put in place of its former self. */
export const withNode = (ledger: LedgerModel, node: ModelNode): LedgerModel => ({
  ...ledger,
  nodes: new Map(ledger.nodes).set(node.id, node)
})

export const isInSlot = (task: ModelTask): boolean => task.state === 'leased' || task.state === 'running'

/** The tasks in queues, foremost first. */
export const queuedTasks = (ledger: LedgerModel): ModelTask[] =>
  [...ledger.tasks.values()].filter(task => task.state === 'queued').toSorted((a, b) => a.orderMs - b.orderMs)

/** When the ledger has to end what a task waits for or does; undefined when never. */
export const dueMs = (task: ModelTask): number | undefined => {
  if (isTerminal(task.state)) return undefined
  if (isInSlot(task)) return task.attemptDueMs
  return task.deadlineMs || undefined
}

/** A node that was silent for `aliveMs` is not given anything. */
export const isAlive = (ledger: LedgerModel, node: ModelNode, nowMs: number): boolean =>
  nowMs - node.beatMs < ledger.limits.aliveMs
