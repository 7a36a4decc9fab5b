import type { VirtualRun } from '@comfy-balancer/domain/virtual-fleet/virtual-job'
import { quantile } from '../quantile.ts'
import { boundsOf } from './bounds.ts'
import { runBy } from './rules.ts'
import type { Seeded } from './scenarios.ts'

export const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

/** Seconds from acceptance to the end, of jobs that succeeded. */
export const sojourns = (runs: readonly VirtualRun[]): number[] =>
  runs.filter(run => run.state === 'succeeded').map(run => (run.endedMs - run.atMs) / 1000)

/** What a rule came to in a scenario; the mean over its seeds. `light` is of the tenants with one job each. */
export type Measured = {
  readonly meanOverBound: number
  readonly p99Seconds: number
  readonly makespanOverBound: number
  readonly loads: number
  readonly lost: number
  readonly lightP95OverTask: number
  readonly etaErrors: readonly number[]
}

/** Puts a rule through a scenario, once for each seed. */
export const measure = (rule: string, scenario: Seeded, seeds: readonly number[]): Measured => {
  const all = seeds.map(seed => {
    const made = scenario(seed)
    return { bounds: boundsOf(made), runs: runBy(rule, made, seed) }
  })
  const each = (of: (one: (typeof all)[number]) => number): number => mean(all.map(of))
  const light = all.flatMap(({ runs }) => runs.filter(run => run.tenant?.startsWith('light')))
  const runs = all.flatMap(one => one.runs)
  return {
    meanOverBound: each(one => mean(sojourns(one.runs)) / one.bounds.meanSojourn),
    p99Seconds: each(one => quantile(sojourns(one.runs), 0.99)),
    makespanOverBound: each(one => Math.max(...one.runs.map(run => run.endedMs)) / 1000 / one.bounds.makespan),
    loads: each(one => one.runs.filter(run => run.loaded).length),
    lost: runs.filter(run => run.state === 'lost').length,
    lightP95OverTask: light.length === 0 ? 0 : quantile(light.map(waitSeconds), 0.95) / mean(runs.map(taskSeconds)),
    etaErrors: runs.flatMap(etaError)
  }
}

const waitSeconds = (run: VirtualRun): number => (run.startedMs - run.atMs) / 1000
const taskSeconds = (run: VirtualRun): number => (run.endedMs - run.startedMs) / 1000

/** How far what was promised at acceptance was off, as a share of what it took. */
const etaError = ({ state, etaSeconds, atMs, endedMs }: VirtualRun): number[] => {
  const took = (endedMs - atMs) / 1000
  return state !== 'succeeded' || etaSeconds === undefined ? [] : [Math.abs(etaSeconds - took) / took]
}
