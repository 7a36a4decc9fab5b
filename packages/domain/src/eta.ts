/** How a waiting task stands. */
export type Standing = {
  /** Tasks before it in its queue, which is that of its tenant and need. */
  readonly before: number
  readonly inQueue: number
  /** All that its tenant has waiting, whatever the need. */
  readonly ofTenant: number
  /** How many each other tenant has waiting. */
  readonly others: readonly number[]
  readonly nodes: number
  readonly nodesBusy: number
  /** What it is predicted to execute. */
  readonly taskSeconds: number
}

/**
 * Seconds until the result of a waiting task: its tenant's needs mix evenly, tenants take turns, so of each other one as many tasks come
 * first as of its own, each about as long as this one; the nodes share them, and are in the middle of others.
 */
export const etaSeconds = (standing: Standing): number => {
  const { before, inQueue, ofTenant, others, nodes, nodesBusy, taskSeconds } = standing
  if (nodesBusy < nodes && before === 0) return taskSeconds
  const own = inQueue === 0 ? before : (before / inQueue) * ofTenant
  const ahead = others.reduce((sum, waiting) => sum + Math.min(waiting, own + 1), own)
  return ((ahead + 0.5) / nodes) * taskSeconds + taskSeconds
}
