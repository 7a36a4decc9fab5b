import { dueMs, isAlive, isInSlot, type LedgerModel, type ModelTask, type Step, withNode, withTask } from './model.ts'
import { nodeFault } from './quarantine.ts'
import { forgetPlaces } from './tenants.ts'
import { finish, joinQueue, recorded, recover, settleHeld } from './transitions.ts'

export type ModelSweep = {
  readonly recovered: number
  readonly requeued: number
  readonly expired: number
  readonly timedOut: number
  readonly heldBack: boolean
}

/** The first `limit` of those whose time has come, the longest overdue first. */
const due = <T extends { readonly id: string }>(
  all: Iterable<T>,
  timeOf: (one: T) => number | undefined,
  nowMs: number,
  limit: number
): T[] =>
  [...all]
    .filter(one => (timeOf(one) ?? Number.POSITIVE_INFINITY) <= nowMs)
    .toSorted((a, b) => timeOf(a)! - timeOf(b)! || (a.id < b.id ? -1 : 1))
    .slice(0, limit)

/** Ends at most `limit` each of the slots, back-offs and deadlines whose time has come; forgets what nobody needs any more. */
export const sweep = (ledger: LedgerModel, nowMs: number, { limit }: { readonly limit: number }): Step<ModelSweep> => {
  const slots = endSlots(guarded(ledger, nowMs), nowMs, limit)
  const ready = due(waiting(slots.after), task => task.backoffEndsMs, nowMs, limit)
  const requeued = ready.reduce((current, task) => {
    const queued = joinQueue(current, task)
    return withTask(queued, recorded(queued.tasks.get(task.id)!, nowMs, 'task.queued', 'back-off is over'))
  }, slots.after)
  const late = due(requeued.tasks.values(), dueMs, nowMs, limit)
  const ended = late.reduce((current, task) => runOut(current, task, nowMs), requeued)
  const timedOut = late.filter(isInSlot).length
  const { recovered, heldBack } = slots
  const answer = { recovered, requeued: ready.length, expired: late.length - timedOut, timedOut, heldBack }
  return { answer, after: forgetPlaces(forget(ended, nowMs, limit)) }
}

const waiting = (ledger: LedgerModel): ModelTask[] =>
  [...ledger.tasks.values()].filter(task => task.state === 'delayed')

/**
 * The blindness guard: when nobody swept for a while, or at least three and half of the nodes fell silent together, it was probably we who
 * were blind. Once in three leases at most, so that it cannot hold recovery back for ever.
 */
const guarded = (ledger: LedgerModel, nowMs: number): LedgerModel => {
  const { blindMs, leaseMs } = ledger.limits
  const lately = [...ledger.nodes.values()].filter(node => node.beatMs >= nowMs - blindMs * 2)
  const silent = lately.filter(node => !isAlive(ledger, node, nowMs)).length
  const unswept = ledger.lastSweepMs > 0 && nowMs - ledger.lastSweepMs > blindMs
  const blind = unswept || (silent >= 3 && silent * 2 >= lately.length)
  const again = nowMs - ledger.guardedMs > leaseMs * 3
  return { ...ledger, lastSweepMs: nowMs, guardedMs: blind && again ? nowMs : ledger.guardedMs }
}

const endSlots = (ledger: LedgerModel, nowMs: number, limit: number) => {
  const ended = due(ledger.nodes.values(), node => node.slot?.endsMs, nowMs, limit)
  const guardEndsMs = ledger.guardedMs + ledger.limits.leaseMs
  if (ended.length > 0 && nowMs < guardEndsMs) {
    const after = ended.reduce(
      (current, node) => withNode(current, { ...node, slot: { ...node.slot!, endsMs: guardEndsMs } }),
      ledger
    )
    return { recovered: 0, heldBack: true, after }
  }
  let after = ledger
  let recovered = 0
  for (const node of ended) {
    const step = recover(after, node, nowMs)
    after = step.after
    if (step.recovered === undefined) continue
    recovered += 1
    // A node that speaks but lets its lease run out does not do what it took.
    if (isAlive(ledger, node, nowMs)) after = nodeFault(after, node.id, nowMs).after
  }
  return { recovered, heldBack: false, after }
}

/** A task in a slot fails as timed out, its slot left to the node; one that waits expires. */
const runOut = (ledger: LedgerModel, task: ModelTask, nowMs: number): LedgerModel => {
  if (!isInSlot(task)) return finish(ledger, task, nowMs, 'expired', 'deadline')
  const settled = settleHeld(ledger, task, nowMs)
  return finish(settled, { ...settled.tasks.get(task.id)!, problem: 'timed-out' }, nowMs, 'failed', 'timed out')
}

const forget = (ledger: LedgerModel, nowMs: number, limit: number): LedgerModel => {
  const silent = due(ledger.nodes.values(), node => node.beatMs + ledger.limits.keepNodeMs, nowMs, limit)
  const nodes = new Map(ledger.nodes)
  for (const node of silent) if (!nodes.get(node.id)?.slot) nodes.delete(node.id)
  return { ...ledger, nodes }
}
