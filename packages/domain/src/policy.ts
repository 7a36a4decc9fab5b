import type { Need } from '@comfy-balancer/contract/need'
import { type Capability, hasLabels, lacking, modelsOf } from './capability.ts'
import { type Learned, type Prediction, predict } from './prediction.ts'

/** A node as the policy sees it. Load comes from the ledger: a node is free when its slot is empty. */
export type NodeView = {
  readonly id: string
  readonly labels: Readonly<Record<string, string>>
  readonly capability: Capability
  readonly resident: ReadonlySet<string>
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

/** A waiting task. `orderMs` is its place in the queue: the time it was accepted, less its priority's head start. */
export type Candidate = {
  readonly id: string
  readonly tenant: string
  readonly needId: string
  readonly need: Need
  readonly orderMs: number
  readonly work: number
  /** Nodes on which it was tried already, to be used only when no other can take it. */
  readonly avoid: readonly string[]
}

/** A tenant's place in start-time fair queueing: virtual start (GPU-seconds ÷ weight) and how often it was overtaken since it was last served. */
export type Flow = { readonly start: number; readonly overtaken: number }

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

/** After so long a wait a task takes any capable node (dispatch.md, rule 1). */
const guardEndsSeconds = 120
/** A tenant may be overtaken for a resident model by this many model loads' worth of service, and this often (dispatch.md, rule 2). */
const creditLoads = 10
const maxOvertaken = 8
/** Another node must finish clearly sooner before a free one is left idle for it: predictions err by more than this. */
const guardMargin = 0.9

type Pair = { node: NodeView; task: Candidate; predicted: Prediction; seconds: number; score: number }

const total = ({ loadSeconds, executionSeconds }: Prediction): number => loadSeconds + executionSeconds

/** True when a node has the labels, classes and files that a need asks for. */
export const isCapable = (node: NodeView, need: Need): boolean =>
  hasLabels(need, node.labels) && lacking(need, node.capability).length === 0

/** True when the largest model of a need fits into the node's VRAM, or either is unknown. */
export const fits = (node: NodeView, need: Need): boolean => {
  const largest = Math.max(0, ...modelsOf(need).map(model => node.capability.modelBytes(model) ?? 0))
  return node.vramTotalBytes === undefined || largest <= node.vramTotalBytes
}

/**
 * "Least loaded": gives each free node the task it should run next, the healthy node that is predicted to finish a task first being the one
 * that gets it. Filters, then guard, fairness, order and ties as in dispatch.md. At most one task a node; a node that is better left waiting gets none.
 */
export const assign = (situation: Situation): Assignment[] => {
  const suitable = memoisedSuitability(situation)
  const chosen: Assignment[] = []
  const free = new Set(situation.nodes.filter(node => node.available && !node.attempt))
  const waiting = new Map(situation.candidates.map(task => [task.id, task]))
  const starts = new Map([...situation.flows].map(([tenant, flow]) => [tenant, flow.start]))
  while (free.size > 0 && waiting.size > 0) {
    const pairs = allowedPairs(situation, [...free], [...waiting.values()], suitable)
    const best = fairest(pairs, situation, starts)
    if (!best) break
    free.delete(best.pair.node)
    waiting.delete(best.pair.task.id)
    starts.set(best.pair.task.tenant, startOf(starts, best.pair.task.tenant) + best.pair.seconds)
    chosen.push(explain(best.pair, best.overtakes, pairs))
  }
  return chosen
}

type Suitability = (node: NodeView, task: Candidate) => Prediction | undefined

/** Asks each (node, need, work) once. A node without room is passed over while another capable one has it. */
const memoisedSuitability = ({ nodes, learned }: Situation): Suitability => {
  const capable = new Map<string, ReadonlySet<NodeView>>()
  const capableOf = (task: Candidate): ReadonlySet<NodeView> => {
    const known = capable.get(task.needId)
    if (known) return known
    const able = nodes.filter(node => node.available && isCapable(node, task.need))
    const roomy = able.filter(node => fits(node, task.need))
    const found = new Set(roomy.length > 0 ? roomy : able)
    capable.set(task.needId, found)
    return found
  }
  return (node, task) => {
    if (!capableOf(task).has(node)) return undefined
    const elsewhere = [...capableOf(task)].some(other => !task.avoid.includes(other.id))
    if (elsewhere && task.avoid.includes(node.id)) return undefined
    return predict(node, task.need, task.work, learned.get(task.needId))
  }
}

const allowedPairs = (
  situation: Situation,
  free: readonly NodeView[],
  waiting: readonly Candidate[],
  suitable: Suitability
): Pair[] => {
  const guarded = situation.waiting <= situation.nodes.length
  const pairs: Pair[] = []
  for (const task of waiting) {
    const ageSeconds = Math.max(0, (situation.nowMs - task.orderMs) / 1000)
    for (const node of free) {
      const predicted = suitable(node, task)
      if (!predicted) continue
      const seconds = total(predicted)
      const pair = { node, task, predicted, seconds, score: (ageSeconds + seconds) / seconds }
      if (guarded && ageSeconds < guardEndsSeconds && isBetterElsewhere(pair, situation, waiting, suitable)) continue
      pairs.push(pair)
    }
  }
  return pairs
}

/** Rule 1: another node, busy now, would still finish this task sooner after the same-model tasks that are ahead of it. */
const isBetterElsewhere = (
  { node, task, seconds }: Pair,
  { nodes, learned }: Situation,
  waiting: readonly Candidate[],
  suitable: Suitability
): boolean => {
  const ahead = waiting.filter(other => other.needId === task.needId && other.orderMs < task.orderMs)
  return nodes.some(other => {
    if (other === node || !other.attempt || !suitable(other, task)) return false
    const warm = { ...other, resident: new Set(modelsOf(other.attempt.need)) }
    const remaining = Math.max(0, other.attempt.predictedSeconds - other.attempt.elapsedSeconds)
    const own = total(predict(warm, task.need, task.work, learned.get(task.needId)))
    const before = ahead.reduce(
      (sum, one) => sum + total(predict(warm, one.need, one.work, learned.get(one.needId))),
      0
    )
    return remaining + before + own < seconds * guardMargin
  })
}

const startOf = (starts: ReadonlyMap<string, number>, tenant: string): number => starts.get(tenant) ?? 0

/** Rules 2 to 4: the tenant served least goes first, unless another's task needs no load here and the credit is not used up. */
const fairest = (
  pairs: readonly Pair[],
  situation: Situation,
  starts: ReadonlyMap<string, number>
): { pair: Pair; overtakes: string[] } | undefined => {
  if (pairs.length === 0) return undefined
  const least = Math.min(...pairs.map(pair => startOf(starts, pair.task.tenant)))
  const due = pairs.filter(pair => startOf(starts, pair.task.tenant) === least)
  const best = foremost(due, situation.random)
  if (best.predicted.loadSeconds === 0) return { pair: best, overtakes: [] }
  const tenant = best.task.tenant
  const credit = creditLoads * best.predicted.loadSeconds
  const overtaken = situation.flows.get(tenant)?.overtaken ?? 0
  const resident = pairs.filter(
    pair =>
      pair.node === best.node &&
      pair.task.tenant !== tenant &&
      pair.task.need.models.length > 0 &&
      pair.predicted.loadSeconds === 0 &&
      startOf(starts, pair.task.tenant) - least <= credit
  )
  if (resident.length === 0 || overtaken >= maxOvertaken) return { pair: best, overtakes: [] }
  return { pair: foremost(resident, situation.random), overtakes: [tenant] }
}

/** Scores and seconds closer than this are ties: clocks and predictions are not finer. */
const sameness = 1e-3

const foremost = (pairs: readonly Pair[], random: () => number): Pair => {
  const ranked = pairs
    .map(pair => ({ pair, draw: random() }))
    .sort((a, b) => compare(a.pair, b.pair) || a.draw - b.draw)
  return ranked[0]!.pair
}

const compare = (a: Pair, b: Pair): number =>
  Number(a.node.strained) - Number(b.node.strained) ||
  apart(b.score, a.score) ||
  apart(a.seconds, b.seconds) ||
  apart(vramShare(a.node), vramShare(b.node)) ||
  apart(a.node.utilization ?? 0, b.node.utilization ?? 0)

const apart = (a: number, b: number): number => (Math.abs(a - b) <= sameness * Math.max(1, Math.abs(a)) ? 0 : a - b)

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
