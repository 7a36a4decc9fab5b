import { join } from 'node:path'
import type { Fleet } from '@comfy-balancer/local/fleet'
import { barChart } from '../bar-chart.ts'
import { groupBy } from '../chaos/group-by.ts'
import { readPrompts } from '../chaos/history/service-logs.ts'
import { quantile } from '../quantile.ts'
import { markdownTable } from '../table.ts'
import { startComfyPool } from './comfy-pool.ts'
import { aPicture } from './picture.ts'
import { startHaproxy, startNginx } from './proxies.ts'
import { untilSettled } from './settled.ts'
import { fluidEndMs, playTrace, type Trace, warmUp, wholeTasksEndMs } from './trace.ts'
import { virtualEndMs } from './virtual-trace.ts'
import { atOnce, throughUs } from './way.ts'

/** How long the trace took on each way, in ms; `taskMs` is what a task takes on each node, `peers` what we were measured against. */
export type Race = {
  readonly taskMs: readonly number[]
  readonly peers: readonly string[]
  /** What lay between two tasks of a node on our way, in ms; half of the times it was less. */
  readonly handOverMs: number
  readonly ways: readonly { readonly name: string; readonly endsMs: readonly number[]; readonly lost: number }[]
}

/** The trace of the race, and the speeds of its simulated GPUs. */
export const trace: Trace = { tasks: 40, everyMs: 40 }
export const speeds = [1, 1, 0.5, 0.25]

const ourName = 'comfy-balancer'
const calibrations = 15
/** The trace as well is run without counting at first: our balancer learns the nodes' speeds from that. */
const uncounted = 2

/** The same trace on each way in turn, so many times, on the same nodes, which are left to rest in between. */
export const measureRace = async (fleet: Fleet, folder: string, rounds: number): Promise<Race> => {
  const urls = fleet.nodes.map(node => node.comfyUiUrl)
  const taskMs = await calibrate(fleet, folder)
  const pool = await startComfyPool(urls)
  const proxies = [await startHaproxy(urls, folder), await startNginx(urls, folder)]
  const us = throughUs(ourName, fleet.balancerUrls[0]!)
  const ways = [us, ...pool.ways, ...proxies.flatMap(proxy => proxy.ways)]
  const found = ways.map(way => ({ way, endsMs: [] as number[], lost: 0 }))
  const handOversMs: number[] = []
  try {
    for (const { way } of found) {
      await untilSettled(fleet)
      await warmUp(way)
    }
    for (let round = 0; round < uncounted + rounds; round++) {
      for (const one of found) {
        await untilSettled(fleet)
        const sinceMs = Date.now()
        const { endMs, lost } = await playTrace(one.way, trace)
        if (round < uncounted) continue
        one.endsMs.push(endMs)
        one.lost += lost
        if (one.way === us) handOversMs.push(...pausesMs(folder, sinceMs))
      }
    }
  } finally {
    await pool.close()
    for (const proxy of proxies) await proxy.close()
  }
  const peers = ['ComfyPool 0.3.1', ...proxies.map(({ version }) => version)]
  return {
    taskMs,
    peers,
    handOverMs: quantile(handOversMs, 0.5),
    ways: found.map(({ way, endsMs, lost }) => ({ name: way.name, endsMs, lost }))
  }
}

/** What a task takes on each node, from its start to its end inside ComfyUI, once the model is loaded. */
const calibrate = ({ nodes }: Fleet, folder: string): Promise<number[]> =>
  Promise.all(
    nodes.map(async ({ comfyUiUrl, simulator }) => {
      const way = await atOnce('', comfyUiUrl, [comfyUiUrl])
      for (let n = 0; n <= calibrations; n++) await way.run(aPicture())
      await way.close()
      const prompts = readPrompts(join(folder, 'logs')).filter(({ comfyui }) => comfyui === simulator?.name)
      const durationsMs = prompts.slice(1).map(({ startedMs, endedMs = Number.NaN }) => endedMs - startedMs)
      return quantile(durationsMs, 0.5)
    })
  )

/** What lay between the prompts of each ComfyUI, by its own clock. */
const pausesMs = (folder: string, sinceMs: number): number[] => {
  const prompts = readPrompts(join(folder, 'logs')).filter(({ startedMs }) => startedMs >= sinceMs)
  return [...groupBy(prompts, ({ comfyui }) => comfyui).values()].flatMap(all => {
    const runs = all.toSorted((a, b) => a.startedMs - b.startedMs)
    return runs.slice(1).map(({ startedMs }, i) => startedMs - (runs[i]!.endedMs ?? startedMs))
  })
}

/** The ways' ends beside the least that is possible. */
export const raceTable = ({ taskMs, handOverMs, ways }: Race): string => {
  const bound = fluidEndMs(trace, taskMs)
  const seconds = (ms: number) => `${(ms / 1_000).toFixed(2)} s`
  const row = (name: string, ends: readonly number[], lost?: number) => {
    const median = quantile(ends, 0.5)
    return [
      name,
      seconds(median),
      seconds(Math.min(...ends)),
      seconds(Math.max(...ends)),
      (median / bound).toFixed(2),
      lost === undefined ? '' : String(lost)
    ]
  }
  const rows = [
    row('bound: all nodes on every task together', [bound]),
    row('best that whole tasks allow, without overhead', [wholeTasksEndMs(trace, taskMs)]),
    row(`the same, ${handOverMs} ms between two tasks`, [
      wholeTasksEndMs(
        trace,
        taskMs.map(ms => ms + handOverMs)
      )
    ]),
    row(`our policy in virtual time, ${handOverMs} ms between two tasks`, [virtualEndMs(trace, taskMs, handOverMs)]),
    ...ways.map(({ name, endsMs, lost }) => row(name, endsMs, lost))
  ]
  return markdownTable(['way', 'end (median)', 'soonest', 'latest', '÷ bound', 'tasks lost'], rows)
}

/** The ways' medians, as shares of the bound. */
export const raceChart = ({ taskMs, ways }: Race): string => {
  const bound = fluidEndMs(trace, taskMs)
  const bars = ways.map(({ name, endsMs }) => ({
    label: name,
    value: quantile(endsMs, 0.5) / bound,
    isOurs: name === ourName
  }))
  const title = `End of ${trace.tasks} tasks on four unequal GPUs ÷ lower bound`
  return barChart('Real programs, simulated GPUs', [{ title, bars }])
}
