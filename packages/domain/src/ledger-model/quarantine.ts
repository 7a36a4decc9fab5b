import { isAlive, type LedgerModel, type ModelTask, type Step, withNode } from './model.ts'

/**
 * A node failed an attempt by its own fault. Some times in a row, and after a quarantine the first time, it is left alone, longer each time;
 * but only a share of the living nodes may be at once, though always one.
 */
export const nodeFault = (
  ledger: LedgerModel,
  id: string,
  nowMs: number
): { readonly quarantinedMs: number; readonly after: LedgerModel } => {
  const { quarantineFaults, quarantineMs, maxQuarantineMs, quarantineShare } = ledger.limits
  const known = ledger.nodes.get(id)!
  const node = { ...known, faults: known.faults + 1 }
  const nodes = [...ledger.nodes.values()]
  const quarantined = nodes.filter(({ quarantinedUntilMs }) => quarantinedUntilMs > nowMs).length
  const alive = nodes.filter(other => isAlive(ledger, other, nowMs)).length
  const isSpared = node.faults < quarantineFaults && node.quarantines === 0
  if (isSpared || quarantined >= Math.max(1, Math.floor(alive * quarantineShare)))
    return { quarantinedMs: 0, after: withNode(ledger, node) }
  const quarantines = node.quarantines + 1
  const quarantinedMs = Math.min(quarantineMs * quarantines, maxQuarantineMs)
  const pause = { faults: 0, quarantines, quarantinedUntilMs: nowMs + quarantinedMs }
  const counted = { ...ledger, nodeQuarantines: ledger.nodeQuarantines + 1 }
  return { quarantinedMs, after: withNode(counted, { ...node, ...pause }) }
}

/** A node brought an attempt to its end: what was against it is forgotten. */
export const nodeSuccess = (ledger: LedgerModel, id: string): LedgerModel =>
  withNode(ledger, { ...ledger.nodes.get(id)!, faults: 0, quarantines: 0, quarantinedUntilMs: 0 })

/** A workflow that took ComfyUI down on more than one node is refused to its tenant for a while. */
export const withPoison = (ledger: LedgerModel, task: ModelTask, nowMs: number): LedgerModel => {
  if (task.downed.length < 2) return ledger
  const poison = { task: task.id, nodes: task.downed, sinceMs: nowMs, untilMs: nowMs + ledger.limits.poisonMs }
  return { ...ledger, poisons: new Map(ledger.poisons).set(`${task.tenant}:${task.fingerprint}`, poison) }
}

/** An operator lifts the quarantine of a workflow. */
export const pardon = (
  ledger: LedgerModel,
  _nowMs: number,
  { tenant, fingerprint }: { readonly tenant: string; readonly fingerprint: string }
): Step<boolean> => {
  const poisons = new Map(ledger.poisons)
  return { answer: poisons.delete(`${tenant}:${fingerprint}`), after: { ...ledger, poisons } }
}
