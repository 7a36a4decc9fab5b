import type { Learned } from '@comfy-balancer/domain/prediction'
import { createDispatchRule } from '@comfy-balancer/domain/virtual-fleet/dispatch-rule'
import { simulate } from '@comfy-balancer/domain/virtual-fleet/simulate'
import type { Trace } from './trace.ts'

const model = 'loaded'

/** When our policy ends the trace in virtual time, if a task takes each node so long and `handOverMs` lie between two of them. */
export const virtualEndMs = ({ tasks, everyMs }: Trace, taskMs: readonly number[], handOverMs: number): number => {
  const secondsById = new Map(taskMs.map((ms, i) => [`gpu-${i}`, (ms + handOverMs) / 1_000]))
  const gpus = [...secondsById].map(([id, seconds]) => ({ id, speed: 1 / seconds, holds: [model] }))
  const jobs = Array.from({ length: tasks }, (_, i) => ({
    id: `t${i + 1_000}`,
    atMs: i * everyMs,
    model,
    seconds: 1,
    work: 1
  }))
  const execution = { fleet: undefined, byNode: secondsById }
  const known = new Map<string, Learned>([[model, { load: { fleet: 1, byNode: new Map() }, execution }]])
  const rule = createDispatchRule({ models: [model], known, random: () => 0 })
  return Math.max(...simulate({ gpus, jobs, loadSeconds: () => 1 }, rule).map(({ endedMs }) => endedMs))
}
