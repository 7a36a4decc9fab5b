import type { TaskState } from '@comfy-balancer/contract/task'

/** The ledger's states of a task; `leased` and `delayed` show as `queued` to callers. */
export type LedgerState = TaskState | 'leased' | 'delayed'

/** Every legal transition, from → to. The ledger's scripts may make no other. */
export const transitions: Readonly<Record<LedgerState, readonly LedgerState[]>> = {
  queued: ['leased', 'cancelled', 'expired'],
  leased: ['running', 'queued', 'delayed', 'succeeded', 'failed', 'cancelled'],
  running: ['queued', 'delayed', 'succeeded', 'failed', 'cancelled'],
  delayed: ['queued', 'cancelled', 'expired'],
  succeeded: [],
  failed: [],
  cancelled: [],
  expired: []
}

/** True for the four states that never change. */
export const isTerminal = (state: LedgerState): boolean => transitions[state].length === 0

/** The state that a caller is shown. */
export const shownState = (state: LedgerState): TaskState =>
  state === 'leased' || state === 'delayed' ? 'queued' : state
