import type { VirtualJob } from '@comfy-balancer/domain/virtual-fleet/virtual-job'
import type { Random } from '../chaos/random.ts'
import { boundedPareto, boundedParetoMean, exponential, logNormal, noise, zipf } from './draws.ts'

/** Seconds that a job of a trace executes on a GPU of speed 1. */
export type Sizes = (random: Random) => number

/** The mean of every trace's sizes, in seconds. */
export const meanSeconds = 10

/** Runs of one kind of workflow: a factor of two around the mean covers most of them. */
export const ordinarySizes: Sizes = random => logNormal(random, meanSeconds, 0.5)

const heavyShape = 1.5

/** Bounded Pareto: the largest job is so many times as long as the smallest. */
export const heavySizes = (range: number): Sizes => {
  const scale = meanSeconds / boundedParetoMean(heavyShape, 1, range)
  return random => scale * boundedPareto(random, heavyShape, 1, range)
}

/** The time of the next arrival after one, at a rate per second. */
export type Arrivals = (random: Random, rate: number) => (afterMs: number) => number

export const steady: Arrivals = (random, rate) => afterMs => afterMs + exponential(random, 1000 / rate)

/** Two and a half times the mean rate in 30 % of the time, .36 of it otherwise; phases of a minute or two. */
export const bursty: Arrivals = (random, rate) => {
  let [isHigh, endsMs] = [false, 0]
  const rateNow = () => rate * (isHigh ? 2.5 : 0.25 / 0.7)
  return afterMs => {
    let [atMs, left] = [afterMs, exponential(random, 1)]
    for (;;) {
      const spanMs = (left / rateNow()) * 1000
      if (atMs + spanMs <= endsMs) return atMs + spanMs
      left -= (Math.max(0, endsMs - atMs) / 1000) * rateNow()
      atMs = Math.max(atMs, endsMs)
      isHigh = !isHigh
      endsMs = atMs + exponential(random, isHigh ? 60_000 : 140_000)
    }
  }
}

const dayMs = 86_400_000

/** A day's curve: 1.8 times the mean rate in the afternoon, .2 of it at night; drawn by thinning. */
export const daily: Arrivals = (random, rate) => afterMs => {
  let atMs = afterMs
  do atMs += exponential(random, 1000 / (1.8 * rate))
  while (random() * 1.8 > 1 + 0.8 * Math.sin((2 * Math.PI * atMs) / dayMs))
  return atMs
}

export const modelName = (k: number): string => `model-${k}`
export const modelNames = (count: number): string[] => Array.from({ length: count }, (_, k) => modelName(k))

export type TraceOptions = {
  readonly jobs: number
  /** Jobs a second. */
  readonly rate: number
  readonly models: number
  readonly arrivals?: Arrivals
  readonly sizes?: Sizes
  /** How far the dispatcher's idea of a size errs (standard deviation of the logarithm); it knows nothing of it when `withheld`. */
  readonly sigma?: number | 'withheld'
  readonly random: Random
}

/** Jobs that come one by one. */
export const makeTrace = (options: TraceOptions): VirtualJob[] => {
  const { jobs, rate, models, arrivals = steady, sizes = ordinarySizes, sigma = 0, random } = options
  const next = arrivals(random, rate)
  const pick = zipf(models)
  let atMs = 0
  return Array.from({ length: jobs }, (_, i) => {
    atMs = rate === Number.POSITIVE_INFINITY ? 0 : next(atMs)
    const model = modelName(pick(random))
    const seconds = sizes(random)
    const work = sigma === 'withheld' ? meanSeconds : seconds * noise(random, sigma)
    return { id: `t${String(i).padStart(6, '0')}`, atMs, model, seconds, work }
  })
}
