import type { Scenario } from '@comfy-balancer/domain/virtual-fleet/simulate'
import type { VirtualJob } from '@comfy-balancer/domain/virtual-fleet/virtual-job'
import type { VirtualGpu, VirtualModels } from '@comfy-balancer/domain/virtual-fleet/virtual-node'
import { type Random, randomFrom } from '../chaos/random.ts'
import { exponential } from './draws.ts'
import { bursty, daily, heavySizes, makeTrace, meanSeconds, modelNames, type TraceOptions } from './traces.ts'

/** A scenario that a seed makes. */
export type Seeded = (seed: number) => Scenario

const gpus = (...speeds: readonly number[]): VirtualGpu[] => speeds.map((speed, i) => ({ id: `gpu-${i}`, speed }))
export const equal = gpus(1, 1, 1, 1)
export const unequal = gpus(1, 1, 0.5, 0.25)
const switchSeconds = 8

/** GPUs of one speed that hold one to six of `severalGigabytes`. */
const roomy = [12, 12, 24, 48].map((gigabytes, i) => ({ id: `gpu-${i}`, speed: 1, vramBytes: gigabytes * 1e9 }))
/** Sizes of models, the most wanted one first; from disk a gigabyte takes a second. */
const severalGigabytes = [8, 6, 12, 4, 10, 2]

type Shape = Omit<TraceOptions, 'random' | 'rate' | 'jobs'> & {
  readonly load: number
  readonly jobs?: number
  readonly on?: readonly VirtualGpu[]
  readonly switchSeconds?: number
  /** Of each model; to load it takes a second for each, then, and not `switchSeconds`. */
  readonly gigabytes?: readonly number[]
  readonly change?: (jobs: VirtualJob[], random: Random) => VirtualJob[]
  readonly crashes?: (jobs: readonly VirtualJob[], random: Random) => NonNullable<Scenario['crashes']>
}

/** Jobs that ask for this share of the fleet's speed, loads not counted. */
export const offered = (shape: Shape): Seeded => {
  const {
    load,
    jobs: count = 2_000,
    on = equal,
    switchSeconds: each = switchSeconds,
    gigabytes,
    change,
    crashes,
    ...trace
  } = shape
  const speed = on.reduce((sum, gpu) => sum + gpu.speed, 0)
  const models: VirtualModels = gigabytes ? sizedModels(gigabytes) : { loadSeconds: () => each }
  return seed => {
    const random = randomFrom(seed * 7_919)
    const made = makeTrace({ ...trace, jobs: count, rate: (load * speed) / meanSeconds, random })
    const jobs = change?.(made, random) ?? made
    return { gpus: on, jobs, ...models, ...(crashes ? { crashes: crashes(jobs, random) } : {}) }
  }
}

const sizedModels = (gigabytes: readonly number[]): VirtualModels => {
  const sizes = new Map(modelNames(gigabytes.length).map((name, k) => [name, gigabytes[k]!]))
  return { loadSeconds: model => sizes.get(model)!, modelBytes: model => sizes.get(model)! * 1e9 }
}

/** Six hundred jobs at once. */
const backlog = (on: readonly VirtualGpu[]): Seeded =>
  offered({ load: Number.POSITIVE_INFINITY, jobs: 600, models: 6, on })

/** One tenant with five hundred jobs at once; nine more come with one each, a minute apart in the mean. */
const tenants: Seeded = seed => {
  const random = randomFrom(seed * 7_919)
  const heavy = makeTrace({ jobs: 500, rate: Number.POSITIVE_INFINITY, models: 6, random })
  const light = makeTrace({ jobs: 9, rate: 1 / 60, models: 6, random })
  const jobs = [
    ...heavy.map(job => ({ ...job, tenant: 'heavy' })),
    ...light.map((job, i) => ({ ...job, id: `light-${i}`, tenant: `light-${i}` }))
  ]
  return { gpus: equal, jobs, loadSeconds: () => switchSeconds }
}

/** Every tenth job may run on the first GPU only. */
const pinned = (jobs: VirtualJob[]): VirtualJob[] =>
  jobs.map((job, i) => (i % 10 === 0 ? { ...job, node: 'gpu-0' } : job))

/** Every five minutes half of what is not done is cancelled. */
const stormMs = 300_000
const cancelStorms = (jobs: VirtualJob[], random: Random): VirtualJob[] =>
  jobs.map(job => (random() < 0.5 ? { ...job, cancelMs: (Math.floor(job.atMs / stormMs) + 1) * stormMs } : job))

/** Each GPU crashes every ten minutes in the mean, and is back after half a minute. */
const crashes = (jobs: readonly VirtualJob[], random: Random): NonNullable<Scenario['crashes']> =>
  equal.flatMap(({ id: node }) => {
    const found: { node: string; atMs: number; downMs: number }[] = []
    const endMs = jobs.at(-1)!.atMs + 600_000
    for (let atMs = exponential(random, 600_000); atMs < endMs; atMs += exponential(random, 600_000))
      found.push({ node, atMs, downMs: 30_000 })
    return found
  })

const sixModels = { models: 6, load: 0.8 } as const

/** What every rule is put through. */
export const scenarios = {
  'one model .8': offered({ models: 1, load: 0.8, jobs: 3_000 }),
  'heavy tail .7': offered({ models: 1, load: 0.7, jobs: 4_000, sizes: heavySizes(100) }),
  'heavier tail .7': offered({ models: 1, load: 0.7, jobs: 4_000, sizes: heavySizes(1_000) }),
  '6 models .8': offered(sixModels),
  '30 models .6': offered({ models: 30, load: 0.6 }),
  '12-48 GB .9': offered({ models: severalGigabytes.length, load: 0.9, on: roomy, gigabytes: severalGigabytes }),
  'unequal, bursty .5': offered({ models: 6, load: 0.5, on: unequal, arrivals: bursty }),
  "day's curve .5": offered({ models: 6, load: 0.5, arrivals: daily, jobs: 4_000 }),
  'pinned .7': offered({ models: 6, load: 0.7, change: pinned }),
  'cancel storms .9': offered({ models: 6, load: 0.9, change: cancelStorms }),
  'crashes .6': offered({ models: 6, load: 0.6, jobs: 1_500, crashes }),
  'σ .5': offered({ ...sixModels, sigma: 0.5 }),
  'σ 1': offered({ ...sixModels, sigma: 1 }),
  'sizes withheld': offered({ ...sixModels, sigma: 'withheld' }),
  'backlog, equal': backlog(equal),
  'backlog, unequal': backlog(unequal),
  tenants
} satisfies Record<string, Seeded>

export type ScenarioName = keyof typeof scenarios
