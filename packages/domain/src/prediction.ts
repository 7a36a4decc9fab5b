import type { Need } from '@comfy-balancer/contract/need'
import { type Capability, isModelFile, modelsOf } from './capability.ts'

/** Learned from finished attempts with one need. Seconds; execution per unit of work. */
export type Learned = {
  readonly load: { readonly fleet: number | undefined; readonly byNode: ReadonlyMap<string, number> }
  readonly execution: { readonly fleet: number | undefined; readonly byNode: ReadonlyMap<string, number> }
}

/** A need of which no attempt has finished yet. */
export const noDurations: Learned = {
  load: { fleet: undefined, byNode: new Map() },
  execution: { fleet: undefined, byNode: new Map() }
}

/** What an attempt is predicted to take on a node, in seconds. */
export type Prediction = { readonly loadSeconds: number; readonly executionSeconds: number }

/** Load and execution together. */
export const totalSeconds = ({ loadSeconds, executionSeconds }: Prediction): number => loadSeconds + executionSeconds

/** Before anything was learned: 1 GB/s from disk, and a second per megapixel·step-thirtieth (a mid-range GPU). */
const bytesPerSecond = 1e9
const unknownModelBytes = 6e9
const defaultSecondsPerWork = 0.3

/** What attempts with one need take on a node: `loadSeconds` of the models that it does not hold, `coldSeconds` of all of them. */
export type Rates = { readonly loadSeconds: number; readonly coldSeconds: number; readonly secondsPerWork: number }

/** Rates from what was learned there, or else in the fleet, or else from the models' sizes. */
export const ratesOf = (
  node: { readonly id: string; readonly capability: Capability; readonly resident: ReadonlySet<string> },
  need: Need,
  learned: Learned | undefined
): Rates => {
  const models = modelsOf(need)
  const size = (model: string) => node.capability.modelBytes(model) ?? (isModelFile(model) ? unknownModelBytes : 0)
  const total = models.reduce((sum, model) => sum + size(model), 0)
  const missing = models.filter(model => !node.resident.has(model)).reduce((sum, model) => sum + size(model), 0)
  const load = learned?.load.byNode.get(node.id) ?? learned?.load.fleet ?? total / bytesPerSecond
  const secondsPerWork = learned?.execution.byNode.get(node.id) ?? learned?.execution.fleet ?? defaultSecondsPerWork
  if (total === 0) return { loadSeconds: 0, coldSeconds: 0, secondsPerWork }
  return { loadSeconds: load * (missing / total), coldSeconds: load, secondsPerWork }
}

/** Predicts an attempt of a task of that size. */
export const predict = ({ loadSeconds, secondsPerWork }: Rates, work: number): Prediction => ({
  loadSeconds,
  executionSeconds: Math.max(0.05, secondsPerWork * work)
})

/** The weight of the latest attempt: hardware and models of ten runs ago are forgotten. */
const recent = 0.3
/** An attempt that is farther off than this factor counts as if it were at it: a stall must not ruin what is known. */
const outlier = 3

/** Learns from a finished attempt, as the script `complete` does. A load is learned only where there was one. */
export const learn = (
  learned: Learned,
  node: string,
  work: number,
  { loadSeconds, executionSeconds }: { readonly loadSeconds: number; readonly executionSeconds: number }
): Learned => ({
  load: loadSeconds > 0 ? meansWith(learned.load, node, loadSeconds) : learned.load,
  execution: meansWith(learned.execution, node, executionSeconds / Math.max(0.01, work))
})

type Means = Learned['load']

const meansWith = ({ fleet, byNode }: Means, node: string, seconds: number): Means => ({
  fleet: moved(fleet, seconds),
  byNode: new Map(byNode).set(node, moved(byNode.get(node), seconds))
})

const moved = (mean: number | undefined, seconds: number): number => {
  if (mean === undefined) return seconds
  const near = mean > 0 ? Math.max(mean / outlier, Math.min(mean * outlier, seconds)) : seconds
  return mean + recent * (near - mean)
}
