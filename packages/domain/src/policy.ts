import type { Need } from '@comfy-balancer/contract/need'
import { type Capability, hasLabels, lacking, modelsOf } from './capability.ts'
import { createGuard } from './guard.ts'
import { type Learned, type Pace, type Prediction, predict, ratesOf, totalSeconds } from './prediction.ts'

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

/** A node and a task that may come together, and what that is predicted to take. */
export type Pair = { node: NodeView; task: Candidate; predicted: Prediction; seconds: number; score: number }

/** True when a node has the labels, classes and files that a need asks for. */
export const isCapable = (node: NodeView, need: Need): boolean =>
  hasLabels(need, node.labels) && lacking(need, node.capability).length === 0

const bytesOf = (node: NodeView, models: Iterable<string>): number[] =>
  [...models].map(model => node.capability.modelBytes(model) ?? 0)

/** What a node keeps in VRAM: what it holds and what it is about to load. */
const heldBytes = (node: NodeView): number => {
  const models = new Set([...node.resident, ...(node.attempt ? modelsOf(node.attempt.need) : [])])
  return bytesOf(node, models).reduce((sum, bytes) => sum + bytes, 0)
}

/** True when the largest model of a need fits into the VRAM that others on the same GPU leave, or either is unknown. */
export const fits = (node: NodeView, need: Need, nodes: readonly NodeView[]): boolean => {
  if (node.vramTotalBytes === undefined) return true
  const sharers = nodes.filter(other => other !== node && other.gpuUuid !== undefined && other.gpuUuid === node.gpuUuid)
  const left = node.vramTotalBytes - sharers.reduce((sum, other) => sum + heldBytes(other), 0)
  return Math.max(0, ...bytesOf(node, modelsOf(need))) <= left
}

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

/** Whether a node may take a task at all. */
export type Suitability = (node: NodeView, task: Candidate) => boolean

/** The filters, asked once for each need. A node without room is passed over while another capable one has it. */
const suitability = (nodes: readonly NodeView[]): Suitability => {
  const capable = new Map<string, ReadonlySet<NodeView>>()
  const capableOf = (task: Candidate): ReadonlySet<NodeView> => {
    const known = capable.get(task.needId)
    if (known) return known
    const able = nodes.filter(node => node.available && isCapable(node, task.need))
    const roomy = able.filter(node => fits(node, task.need, nodes))
    const found = new Set(roomy.length > 0 ? roomy : able)
    capable.set(task.needId, found)
    return found
  }
  return (node, task) => {
    const able = largeEnough(capableOf(task), task)
    if (!able.has(node)) return false
    if (task.stay !== undefined && [...able].some(other => other.id === task.stay)) return node.id === task.stay
    return !task.avoid.includes(node.id) || [...able].every(other => task.avoid.includes(other.id))
  }
}

const largeEnough = (nodes: ReadonlySet<NodeView>, { vramAboveBytes }: Candidate): ReadonlySet<NodeView> =>
  vramAboveBytes === undefined
    ? nodes
    : new Set([...nodes].filter(({ vramTotalBytes = Number.POSITIVE_INFINITY }) => vramTotalBytes > vramAboveBytes))

/**
 * A model in VRAM is worth so many of its loads: the tasks that wait for it count as that much older. Large enough that a node seldom leaves
 * one while tasks wait for it, small enough that under overload others come first when they waited that much longer (results/scheduling.md).
 */
const keptLoads = 32
/** A load is weighed against other work this many times, for what it evicts is loaded again, and shared by the tasks that it is for. */
const loadWeight = 4

const openPairs = (situation: Situation, isSuitable: Suitability): Pair[] => {
  const { nodes, candidates, learned, nowMs } = situation
  const sharers = loadSharers(situation)
  const usual = usualWork(candidates)
  return nodes
    .filter(node => node.available && !node.attempt)
    .flatMap(node => {
      const rates = memo((task: Candidate) => ratesOf(node, task.need, learned.get(task.needId)))
      return candidates
        .filter(task => isSuitable(node, task))
        .map(task => {
          const known = rates(task)
          const predicted = predict(known, task)
          const ageSeconds = Math.max(0, (nowMs - task.orderMs) / 1000)
          const kept = (keptLoads * (known.coldSeconds - known.loadSeconds)) / (known.secondsPerWork * usual(task))
          const effort = predicted.executionSeconds + (loadWeight * predicted.loadSeconds) / sharers(task)
          const score = (ageSeconds + effort) / effort + kept
          return { node, task, predicted, seconds: totalSeconds(predicted), score }
        })
    })
}

/** How many waiting tasks a load for a task would serve: those with its models, divided among the nodes that hold them and one more. */
const loadSharers = ({ nodes, candidates }: Situation): ((task: Candidate) => number) => {
  const waiting = new Map<string, number>()
  const models = memo((task: Candidate) => modelsOf(task.need))
  for (const task of candidates) waiting.set(models(task).join(), (waiting.get(models(task).join()) ?? 0) + 1)
  const held = nodes.map(({ attempt, resident }) => (attempt ? new Set(modelsOf(attempt.need)) : resident))
  return memo((task: Candidate) => {
    const holders = held.filter(files => models(task).every(model => files.has(model))).length
    return Math.max(1, waiting.get(models(task).join())! / (holders + 1))
  })
}

/** The mean size of the tasks that wait with the same need. */
const usualWork = (candidates: readonly Candidate[]): ((task: Candidate) => number) =>
  memo(({ needId }) => {
    const same = candidates.filter(task => task.needId === needId)
    return same.reduce((sum, { work }) => sum + work, 0) / same.length
  })

/** Asks once for each need. */
const memo = <Value>(ask: (task: Candidate) => Value): ((task: Candidate) => Value) => {
  const known = new Map<string, Value>()
  return task => {
    const value = known.get(task.needId) ?? ask(task)
    known.set(task.needId, value)
    return value
  }
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

/** Rules 3 and 4: the task whose turn it is, then the best of the nodes that would finish it at the same time. */
const foremost = (pairs: readonly Pair[], random: () => number): Pair => {
  const best = pairs.reduce((first, pair) => (inTurn(pair, first) < 0 ? pair : first))
  const { task, node, seconds } = best
  const ties = pairs.filter(
    pair =>
      pair.task === task &&
      pair.node.strained === node.strained &&
      pair.seconds - seconds <= sameness * Math.max(1, seconds)
  )
  return ties
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
