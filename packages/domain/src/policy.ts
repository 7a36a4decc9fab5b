import type { Need } from '@comfy-balancer/contract/need'
import type { Capability } from './capability.ts'
import { createGuard } from './guard.ts'
import { openPairs, type Pair } from './open-pairs.ts'
import type { Learned, Pace, Prediction } from './prediction.ts'
import { suitability } from './suitability.ts'

/** A node as the policy sees it. Load comes from the ledger: a node is free when its slot is empty. */
export type NodeView = {
  readonly id: string
  readonly labels: Readonly<Record<string, string>>
  readonly capability: Capability
  readonly resident: ReadonlySet<string>
  readonly pace: Pace
  /** The GPU, whose VRAM all nodes with the same uuid share; undefined where the machine does not tell. */
  readonly gpuUuid: string | undefined
  readonly vramTotalBytes: number | undefined
  readonly vramUsedBytes: number | undefined
  readonly utilization: number | undefined
  /** Its GPU is busy although its slot is empty: somebody else uses it. */
  readonly strained: boolean
  /** Takes part in dispatch: alive, not draining or quarantined, ComfyUI reachable and without foreign prompts. */
  readonly available: boolean
  /** The attempt in its slot, if any: how long it has run and what it is predicted to take in all. */
  readonly attempt:
    | { readonly need: Need; readonly elapsedSeconds: number; readonly predictedSeconds: number }
    | undefined
}

/** A waiting task. `orderMs` is its place in the queue: the time it was accepted (`acceptedMs`), less its priority's head start. */
export type Candidate = {
  readonly id: string
  readonly tenant: string
  readonly needId: string
  readonly need: Need
  readonly orderMs: number
  readonly acceptedMs: number
  readonly work: number
  /** What its very graph took where it ran before, in seconds on a node of pace 1. */
  readonly knownSeconds: number | undefined
  /** Nodes on which it was tried already, to be used only when no other can take it. */
  readonly avoid: readonly string[]
  /** The node that is to try it again, while it can. */
  readonly stay: string | undefined
  /** Only nodes with more VRAM will do: so much was too little. */
  readonly vramAboveBytes: number | undefined
}

/** A tenant's place in start-time fair queueing: virtual start (GPU-seconds ÷ weight), how often it was overtaken since it was last served, and its weight (1 when left out). */
export type Flow = { readonly start: number; readonly overtaken: number; readonly weight?: number }

/** All that the policy may look at. `nowMs` is the ledger's time, `random` draws from [0, 1). */
export type Situation = {
  readonly nodes: readonly NodeView[]
  readonly candidates: readonly Candidate[]
  readonly flows: ReadonlyMap<string, Flow>
  readonly learned: ReadonlyMap<string, Learned>
  /** Tasks waiting in the whole ledger. */
  readonly waiting: number
  readonly nowMs: number
  readonly random: () => number
}

/** A choice and its reasons. `overtakes` names the tenants whose turn it was. */
export type Assignment = {
  readonly node: string
  readonly task: string
  readonly predicted: Prediction
  readonly score: number
  readonly runnerUp: { readonly node: string; readonly seconds: number } | undefined
  readonly overtakes: readonly string[]
}

/**
 * A tenant may be overtaken for a resident model by this many model loads' worth of service, and this often (dispatch.md, rule 2); no oftener
 * than it has tasks waiting, or than half of the nodes become free: a light tenant waits for about half a task's time.
 */
const creditLoads = 10
const maxOvertaken = 8

/**
 * "Least loaded": gives each free node the task it should run next, the healthy node that is predicted to finish a task first being the one
 * that gets it. Filters, then guard, fairness, order and ties as in dispatch.md. At most one task a node; a node that is better left waiting gets none.
 */
export const assign = (situation: Situation): Assignment[] => {
  const isSuitable = suitability(situation.nodes)
  const guard = createGuard(situation, isSuitable)
  const flows = new Map(situation.flows)
  const mayOvertake = patience(situation)
  const chosen: Assignment[] = []
  let open = openPairs(situation, isSuitable)
  while (open.length > 0) {
    const allowed = guard.allowed(open)
    const best = fairest(allowed, flows, mayOvertake, situation.random)
    if (!best) break
    const { pair, overtakes } = best
    guard.claimed(pair)
    settle(flows, pair, overtakes)
    open = open.filter(other => other.node !== pair.node && other.task !== pair.task)
    chosen.push(explain(pair, overtakes, allowed))
  }
  return chosen
}

/** How often a tenant may be overtaken. */
const patience = ({ nodes, candidates }: Situation): ((tenant: string) => number) => {
  const waiting = new Map<string, number>()
  for (const { tenant } of candidates) waiting.set(tenant, (waiting.get(tenant) ?? 0) + 1)
  return tenant => Math.min(maxOvertaken, Math.max(Math.ceil(nodes.length / 2), waiting.get(tenant) ?? 0))
}

const flowOf = (flows: ReadonlyMap<string, Flow>, tenant: string): Flow =>
  flows.get(tenant) ?? { start: 0, overtaken: 0 }

/** Moves the tenants' places within the round as the claim will move them in the ledger. */
const settle = (flows: Map<string, Flow>, { task, seconds }: Pair, overtakes: readonly string[]): void => {
  const { start, weight = 1 } = flowOf(flows, task.tenant)
  flows.set(task.tenant, { start: start + seconds / weight, overtaken: 0, weight })
  for (const tenant of overtakes) {
    const flow = flowOf(flows, tenant)
    flows.set(tenant, { ...flow, overtaken: flow.overtaken + 1 })
  }
}

/** Rules 2 to 4: the tenant served least goes first, unless another's task needs no load here and the credit is not used up. */
const fairest = (
  pairs: readonly Pair[],
  flows: ReadonlyMap<string, Flow>,
  mayOvertake: (tenant: string) => number,
  random: () => number
): { pair: Pair; overtakes: string[] } | undefined => {
  if (pairs.length === 0) return undefined
  const startOf = (pair: Pair): number => flowOf(flows, pair.task.tenant).start
  const least = pairs.reduce((lowest, pair) => Math.min(lowest, startOf(pair)), Number.POSITIVE_INFINITY)
  const best = foremost(
    pairs.filter(pair => startOf(pair) === least),
    random
  )
  if (best.predicted.loadSeconds === 0) return { pair: best, overtakes: [] }
  const tenant = best.task.tenant
  const credit = creditLoads * best.predicted.loadSeconds
  const resident = pairs.filter(
    pair =>
      pair.node === best.node &&
      pair.task.tenant !== tenant &&
      pair.task.need.models.length > 0 &&
      pair.predicted.loadSeconds === 0 &&
      startOf(pair) - least <= credit
  )
  if (resident.length === 0 || flowOf(flows, tenant).overtaken >= mayOvertake(tenant))
    return { pair: best, overtakes: [] }
  return { pair: foremost(resident, random), overtakes: [tenant] }
}

/** Seconds closer than this share are ties: predictions are not finer. */
const sameness = 1e-3

/** Rules 3 and 4: the task whose turn it is, then the best of the nodes that would finish it first. */
const foremost = (pairs: readonly Pair[], random: () => number): Pair => {
  const { task, node } = pairs.reduce((first, pair) => (inTurn(pair, first) < 0 ? pair : first))
  const same = pairs.filter(pair => pair.task === task && pair.node.strained === node.strained)
  const soonest = same.reduce((least, { seconds }) => Math.min(least, seconds), Number.POSITIVE_INFINITY)
  return same
    .filter(({ seconds }) => seconds - soonest <= sameness * Math.max(1, soonest))
    .map(pair => ({ pair, draw: random() }))
    .reduce((first, tie) => ((byLoad(tie.pair.node, first.pair.node) || tie.draw - first.draw) < 0 ? tie : first)).pair
}

const inTurn = (a: Pair, b: Pair): number =>
  Number(a.node.strained) - Number(b.node.strained) || b.score - a.score || a.seconds - b.seconds

/** Whole percents: what a heartbeat reports is not finer. */
const byLoad = (a: NodeView, b: NodeView): number =>
  Math.round(vramShare(a) * 100) - Math.round(vramShare(b) * 100) ||
  Math.round((a.utilization ?? 0) * 100) - Math.round((b.utilization ?? 0) * 100)

const vramShare = (node: NodeView): number =>
  node.vramTotalBytes && node.vramUsedBytes !== undefined ? node.vramUsedBytes / node.vramTotalBytes : 0

const explain = (best: Pair, overtakes: readonly string[], pairs: readonly Pair[]): Assignment => {
  const others = pairs.filter(pair => pair.task === best.task && pair.node !== best.node)
  const runnerUp = others.toSorted((a, b) => a.seconds - b.seconds)[0]
  return {
    node: best.node.id,
    task: best.task.id,
    predicted: best.predicted,
    score: best.score,
    runnerUp: runnerUp && { node: runnerUp.node.id, seconds: runnerUp.seconds },
    overtakes
  }
}
