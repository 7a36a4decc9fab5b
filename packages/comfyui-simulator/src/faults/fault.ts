/** The faults the simulator can be told to have. */
export const faultNames = [
  'crash',
  'hang',
  'out-of-memory',
  'silent-websocket',
  'late-prompt-answer',
  'lost-history',
  'slow-node',
  'drop-websocket',
  'dead-worker',
  'done-twice',
  'wrong-validation',
  'slow-view',
  'restart'
] as const

/** The name of a fault. */
export type FaultName = (typeof faultNames)[number]

/** A fault as it is asked for: how long (`ms`), where (`classType`), how much (`factor`) and how often (`times`). */
export interface FaultRequest {
  fault: FaultName
  ms?: number
  classType?: string
  factor?: number
  times?: number
}

const lasting = new Set<FaultName>(['silent-websocket', 'slow-node', 'slow-view'])

/** Whether a text names a fault. */
export function isFaultName(text: unknown): text is FaultName {
  return faultNames.includes(text as FaultName)
}

/** How often a fault happens when the request does not say: lasting ones until they are deleted, others once. */
export function defaultTimes(fault: FaultName): number {
  return lasting.has(fault) ? Number.POSITIVE_INFINITY : 1
}
