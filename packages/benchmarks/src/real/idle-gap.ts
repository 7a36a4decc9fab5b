import { join } from 'node:path'
import type { Fleet } from '@comfy-balancer/local/fleet'
import { readPrompts } from '../chaos/history/service-logs.ts'
import { quantile } from '../quantile.ts'
import { markdownTable } from '../table.ts'
import { startComfyPool } from './comfy-pool.ts'
import { aPicture } from './picture.ts'
import { untilSettled } from './settled.ts'
import { warmUp } from './trace.ts'
import { atOnce, throughUs, type Way } from './way.ts'

/** How long the GPU did nothing between two tasks although the next one waited, in ms, and what a task took. */
export type IdleGaps = { readonly name: string; readonly gapsMs: readonly number[]; readonly taskMs: number }

/** Tasks that wait together. */
export const waitingTasks = 100

const steps = 2
/** Runs while the others are posted, so that all of them wait. */
const blockerSteps = 100

/** The same on each way in turn, so many times, on one node; what the simulator itself told counts. */
export const measureIdleGaps = async (fleet: Fleet, folder: string, rounds: number): Promise<IdleGaps[]> => {
  const [node] = fleet.nodes
  const url = node!.comfyUiUrl
  const pool = await startComfyPool([url])
  const queued = await atOnce('queued in ComfyUI itself', url, [url])
  const ways = [queued, throughUs('comfy-balancer', fleet.balancerUrls[0]!), pool.ways[0]!]
  const found = ways.map(way => ({ way, gapsMs: [] as number[], tasksMs: [] as number[] }))
  try {
    for (const { way } of found) {
      await untilSettled(fleet)
      await warmUp(way)
    }
    for (let round = 0; round < rounds; round++) {
      for (const { way, gapsMs, tasksMs } of found) {
        await untilSettled(fleet)
        const runs = await runTogether(way, folder)
        tasksMs.push(...runs.map(({ startedMs, endedMs }) => endedMs - startedMs))
        gapsMs.push(...runs.slice(1).map(({ startedMs }, i) => startedMs - runs[i]!.endedMs))
      }
    }
  } finally {
    await pool.close()
    await queued.close()
  }
  return found.map(({ way, gapsMs, tasksMs }) => ({ name: way.name, gapsMs, taskMs: quantile(tasksMs, 0.5) }))
}

const runTogether = async (way: Way, folder: string) => {
  const sinceMs = Date.now()
  const blocker = way.run(aPicture(blockerSteps))
  await Promise.all([blocker, ...Array.from({ length: waitingTasks }, () => way.run(aPicture(steps)))])
  const runs = readPrompts(join(folder, 'logs')).flatMap(({ startedMs, endedMs }) =>
    endedMs !== undefined && startedMs >= sinceMs ? [{ startedMs, endedMs }] : []
  )
  if (runs.length !== waitingTasks + 1) throw new Error(`${way.name}: ComfyUI ran ${runs.length} prompts`)
  return runs.toSorted((a, b) => a.startedMs - b.startedMs).slice(1)
}

/** Each way's pauses, and what they add to ComfyUI's own. */
export const idleGapTable = (found: readonly IdleGaps[]): string => {
  const own = quantile(found[0]!.gapsMs, 0.5)
  const ms = (value: number) => `${value.toFixed(0)} ms`
  const rows = found.map(({ name, gapsMs, taskMs }, i) => {
    const [p50, p95] = [quantile(gapsMs, 0.5), quantile(gapsMs, 0.95)]
    return [name, ms(taskMs), ms(p50), ms(p95), i === 0 ? '' : ms(p50 - own)]
  })
  return markdownTable(['way', 'a task', 'idle p50', 'idle p95', "over ComfyUI's own"], rows)
}
