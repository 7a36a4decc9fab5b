import { type Assignment, assign, type Candidate, type NodeView, type Situation } from '../src/policy.ts'
import { predict } from '../src/prediction.ts'
import { aLearned, aNode, aTask, holding } from './builders.ts'

/** A node of the virtual fleet. `secondsPerWork` is its speed, `resident` the model that it starts with. */
export type VirtualNode = { id: string; secondsPerWork: number; resident?: string }

/** A task to come. The age that priority lends it is `headStartMs`. */
export type Arrival = { id: string; atMs: number; model: string; work: number; tenant?: string; headStartMs?: number }

/** What became of a task: `loaded` is true when its model was not resident. */
export type Run = Arrival & { node: string; claimedMs: number; endedMs: number; loaded: boolean }

export type FleetOptions = {
  readonly nodes: readonly VirtualNode[]
  readonly arrivals: readonly Arrival[]
  readonly loadSeconds: number
  readonly random: () => number
  /** Of tenants that weigh something else than 1. */
  readonly weights?: Readonly<Record<string, number>>
  readonly onRound?: (situation: Situation, chosen: readonly Assignment[]) => void
}

/** As often does a dispatcher look although nothing happened. */
const tickMs = 5_000

/**
 * Runs the policy over a fleet in virtual time until every task has ended: exact predictions, one model resident a node as ComfyUI keeps
 * it, and the ledger's accounts of fairness (start-time fair queueing, as the claim script keeps them).
 */
export const runFleet = ({ nodes, arrivals, loadSeconds, random, weights = {}, onRound }: FleetOptions): Run[] => {
  const learned = aLearned(loadSeconds, Object.fromEntries(nodes.map(node => [node.id, node.secondsPerWork])))
  const holds = new Map(nodes.map(node => [node.id, node.resident]))
  const running = new Map<string, Run & { candidate: Candidate }>()
  const coming = arrivals.toSorted((a, b) => a.atMs - b.atMs)
  const waiting = new Map<string, { arrival: Arrival; candidate: Candidate }>()
  const starts = new Map<string, number>()
  const overtaken = new Map<string, number>()
  const runs: Run[] = []
  let virtual = 0
  let now = 0

  const accept = (arrival: Arrival): void => {
    const { id, atMs, model, work, tenant = 'default', headStartMs = 0 } = arrival
    const isIdle = ![...waiting.values()].some(({ candidate }) => candidate.tenant === tenant)
    if (isIdle) starts.set(tenant, Math.max(virtual, starts.get(tenant) ?? 0))
    const candidate = aTask(id, model, { tenant, work, orderMs: atMs - headStartMs, acceptedMs: atMs })
    waiting.set(id, { arrival, candidate })
  }

  const viewOf = ({ id }: VirtualNode): NodeView => {
    const run = running.get(id)
    const model = holds.get(id)
    const since = (ms: number) => (ms - run!.claimedMs) / 1000
    const attempt = run && {
      need: run.candidate.need,
      elapsedSeconds: since(now),
      predictedSeconds: since(run.endedMs)
    }
    return aNode(id, { resident: model === undefined ? new Set() : holding(model), attempt })
  }

  const situation = (): Situation => ({
    nodes: nodes.map(viewOf),
    candidates: [...waiting.values()].map(({ candidate }) => candidate),
    flows: new Map(
      [...starts].map(([tenant, start]) => [
        tenant,
        { start, overtaken: overtaken.get(tenant) ?? 0, weight: weights[tenant] ?? 1 }
      ])
    ),
    learned: new Map('ABCD'.split('').map(model => [model, learned])),
    waiting: waiting.size,
    nowMs: now,
    random
  })

  const claim = (chosen: Assignment, view: NodeView): void => {
    const { arrival, candidate } = waiting.get(chosen.task)!
    const { loadSeconds: load, executionSeconds } = predict(view, candidate.need, candidate.work, learned)
    const start = Math.max(virtual, starts.get(candidate.tenant) ?? 0)
    if (chosen.overtakes.length === 0) virtual = start
    starts.set(candidate.tenant, start + (load + executionSeconds) / (weights[candidate.tenant] ?? 1))
    overtaken.delete(candidate.tenant)
    for (const tenant of chosen.overtakes) overtaken.set(tenant, (overtaken.get(tenant) ?? 0) + 1)
    const endedMs = now + (load + executionSeconds) * 1000
    const run = { ...arrival, node: view.id, claimedMs: now, endedMs, loaded: load > 0 }
    running.set(view.id, { ...run, candidate })
    waiting.delete(chosen.task)
    holds.set(view.id, arrival.model)
    runs.push(run)
  }

  while (coming.length + waiting.size + running.size > 0) {
    const next = Math.min(coming[0]?.atMs ?? Infinity, ...[...running.values()].map(run => run.endedMs))
    const mayTick = waiting.size > 0 && running.size < nodes.length
    now = mayTick ? Math.min(next, now + tickMs) : next
    while (coming[0] && coming[0].atMs <= now) accept(coming.shift()!)
    for (const [node, run] of running) if (run.endedMs <= now) running.delete(node)
    const seen = situation()
    const chosen = assign(seen)
    onRound?.(seen, chosen)
    for (const one of chosen) claim(one, seen.nodes.find(node => node.id === one.node)!)
  }
  return runs
}
