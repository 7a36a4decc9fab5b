import type { Need } from '@comfy-balancer/contract/need'
import { type Capability, isModelFile, modelsOf } from './capability.ts'

/**
 * Learned from finished attempts with one need. Seconds, execution per unit of work: on the nodes where it ran, and in the `fleet`, on a node
 * of pace 1.
 */
export type Learned = {
  readonly load: { readonly fleet: number | undefined; readonly byNode: ReadonlyMap<string, number> }
  readonly execution: { readonly fleet: number | undefined; readonly byNode: ReadonlyMap<string, number> }
}

/** How many times as long as the fleet a node takes to load (its disk) and to execute (its GPU); undefined before it could be compared. */
export type Pace = { readonly load: number | undefined; readonly execution: number | undefined }

/** A need of which no attempt has finished yet. */
export const noDurations: Learned = {
  load: { fleet: undefined, byNode: new Map() },
  execution: { fleet: undefined, byNode: new Map() }
}

/** A node that was not compared with others yet. */
export const noPace: Pace = { load: undefined, execution: undefined }

/** What an attempt is predicted to take on a node, in seconds. */
export type Prediction = { readonly loadSeconds: number; readonly executionSeconds: number }

/** Load and execution together. */
export const totalSeconds = ({ loadSeconds, executionSeconds }: Prediction): number => loadSeconds + executionSeconds

/** Before anything was learned: 1 GB/s from disk, and a second per megapixel·step-thirtieth (a mid-range GPU). */
const bytesPerSecond = 1e9
const unknownModelBytes = 6e9
const defaultSecondsPerWork = 0.3

/**
 * What attempts with one need take on a node: `loadSeconds` of the models that it does not hold, `coldSeconds` of all of them; `pace` is how
 * many times as long as the fleet it executes them.
 */
export type Rates = {
  readonly loadSeconds: number
  readonly coldSeconds: number
  readonly secondsPerWork: number
  readonly pace: number
}

/** Rates from what was learned there, or else in the fleet at this node's pace, or else from the models' sizes. */
export const ratesOf = (
  node: {
    readonly id: string
    readonly capability: Capability
    readonly resident: ReadonlySet<string>
    readonly pace: Pace
  },
  need: Need,
  learned: Learned | undefined
): Rates => {
  const models = modelsOf(need)
  const size = (model: string) => node.capability.modelBytes(model) ?? (isModelFile(model) ? unknownModelBytes : 0)
  const total = models.reduce((sum, model) => sum + size(model), 0)
  const missing = models.filter(model => !node.resident.has(model)).reduce((sum, model) => sum + size(model), 0)
  const { load, execution } = learned ?? noDurations
  const coldSeconds = load.byNode.get(node.id) ?? (load.fleet ?? total / bytesPerSecond) * (node.pace.load ?? 1)
  const usual = execution.fleet ?? defaultSecondsPerWork
  const secondsPerWork = execution.byNode.get(node.id) ?? usual * (node.pace.execution ?? 1)
  const rates = { secondsPerWork, pace: secondsPerWork / usual }
  if (total === 0) return { loadSeconds: 0, coldSeconds: 0, ...rates }
  return { loadSeconds: coldSeconds * (missing / total), coldSeconds, ...rates }
}

/** What is known of a task's size: megapixel·steps, and what its very graph took in the fleet where it ran before. */
export type Size = { readonly work: number; readonly knownSeconds: number | undefined }

/** Predicts an attempt of a task of that size. */
export const predict = ({ loadSeconds, secondsPerWork, pace }: Rates, { work, knownSeconds }: Size): Prediction => ({
  loadSeconds,
  executionSeconds: Math.max(0.05, knownSeconds === undefined ? secondsPerWork * work : knownSeconds * pace)
})

/** The weight of the latest attempt: hardware and models of ten runs ago are forgotten. */
const recent = 0.3
/** An attempt that is farther off than this factor counts as if it were at it: a stall must not ruin what is known. */
const outlier = 3
/** Nothing is learned to take no time at all. */
const leastSeconds = 1e-6

/** All that a finished attempt teaches about: its need, its node and its graph. */
export type Known = { readonly learned: Learned; readonly pace: Pace; readonly knownSeconds: number | undefined }

/** Learns from a finished attempt, as the script `complete` does. A load is learned only where there was one. */
export const learn = (
  { learned, pace, knownSeconds }: Known,
  node: string,
  work: number,
  { loadSeconds, executionSeconds }: Prediction
): Known & { readonly knownSeconds: number } => {
  const execution = compared(learned.execution, pace.execution, node, executionSeconds / Math.max(0.01, work))
  const load = loadSeconds > 0 ? compared(learned.load, pace.load, node, loadSeconds) : undefined
  return {
    learned: { load: load?.means ?? learned.load, execution: execution.means },
    pace: { load: load?.pace ?? pace.load, execution: execution.pace },
    knownSeconds: moved(knownSeconds, Math.max(leastSeconds, executionSeconds) / execution.paceHere)
  }
}

type Means = Learned['load']
type Compared = { readonly means: Means; readonly pace: number | undefined; readonly paceHere: number }

/**
 * What was predicted is the fleet's mean times the node's pace. The first comparison sets the pace; each later one moves both, the pace a
 * third as far in logarithms: so no attempt moves all means one way and all paces the other.
 */
const compared = ({ fleet, byNode }: Means, pace: number | undefined, node: string, taken: number): Compared => {
  const seconds = Math.max(leastSeconds, taken)
  const known = byNode.get(node)
  const here = (mean: number | undefined) => new Map(byNode).set(node, moved(mean, seconds))
  if (fleet === undefined) {
    return { means: { fleet: seconds / (pace ?? 1), byNode: here(known) }, pace, paceHere: pace ?? 1 }
  }
  if (pace === undefined) {
    const first = near(1, seconds / fleet)
    return { means: { fleet, byNode: here(known) }, pace: first, paceHere: known === undefined ? first : known / fleet }
  }
  const predicted = known ?? fleet * pace
  const step = moved(1, seconds / (fleet * pace))
  return {
    means: { fleet: fleet * step, byNode: here(predicted) },
    pace: pace * Math.cbrt(step),
    paceHere: predicted / fleet
  }
}

const near = (mean: number, seconds: number): number => Math.max(mean / outlier, Math.min(mean * outlier, seconds))

const moved = (mean: number | undefined, seconds: number): number =>
  mean === undefined ? seconds : mean + recent * (near(mean, seconds) - mean)
