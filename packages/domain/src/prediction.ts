import type { Need } from '@comfy-balancer/contract/need'
import { type Capability, isModelFile, modelsOf } from './capability.ts'

/** Learned from finished attempts with one need. Seconds; execution per unit of work. */
export type Learned = {
  readonly load: { readonly fleet: number | undefined; readonly byNode: ReadonlyMap<string, number> }
  readonly execution: { readonly fleet: number | undefined; readonly byNode: ReadonlyMap<string, number> }
}

/** What an attempt is predicted to take on a node, in seconds. */
export type Prediction = { readonly loadSeconds: number; readonly executionSeconds: number }

/** Load and execution together. */
export const totalSeconds = ({ loadSeconds, executionSeconds }: Prediction): number => loadSeconds + executionSeconds

/** Before anything was learned: 1 GB/s from disk, and a second per megapixel·step-thirtieth (a mid-range GPU). */
const bytesPerSecond = 1e9
const unknownModelBytes = 6e9
const secondsPerWork = 0.3

/** Predicts load of the models that the node does not hold, and execution, from what was learned there or in the fleet. */
export const predict = (
  node: { readonly id: string; readonly capability: Capability; readonly resident: ReadonlySet<string> },
  need: Need,
  work: number,
  learned: Learned | undefined
): Prediction => {
  const models = modelsOf(need)
  const size = (model: string) => node.capability.modelBytes(model) ?? (isModelFile(model) ? unknownModelBytes : 0)
  const total = models.reduce((sum, model) => sum + size(model), 0)
  const missing = models.filter(model => !node.resident.has(model)).reduce((sum, model) => sum + size(model), 0)
  const load = learned?.load.byNode.get(node.id) ?? learned?.load.fleet ?? total / bytesPerSecond
  const perWork = learned?.execution.byNode.get(node.id) ?? learned?.execution.fleet ?? secondsPerWork
  return { loadSeconds: total === 0 ? 0 : load * (missing / total), executionSeconds: Math.max(0.05, perWork * work) }
}
