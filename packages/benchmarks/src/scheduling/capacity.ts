import type { VirtualGpu } from '@comfy-balancer/domain/virtual-fleet/virtual-node'
import { mean, sojourns } from './measures.ts'
import { runBy } from './rules.ts'
import { equal, offered, type Seeded, unequal } from './scenarios.ts'
import { type Arrivals, bursty, steady } from './traces.ts'

/** A fleet and the work for it, whose highest load is asked for. */
export type Capacity = {
  readonly title: string
  readonly models: number
  readonly switchSeconds: number
  readonly on: readonly VirtualGpu[]
  readonly arrivals: Arrivals
}

const six = { models: 6, on: equal, arrivals: steady }

export const capacities: readonly Capacity[] = [
  { title: '8 s', switchSeconds: 8, ...six },
  { title: '8 s, unequal, bursty', switchSeconds: 8, models: 6, on: unequal, arrivals: bursty },
  { title: '2 s', switchSeconds: 2, ...six },
  { title: '4 s', switchSeconds: 4, ...six },
  { title: '20 s', switchSeconds: 20, ...six },
  { title: '30 models, 8 s', switchSeconds: 8, ...six, models: 30 }
]

const limitSeconds = 60

/** The mean sojourn at a load, in seconds. */
export const meanSojourn = (rule: string, capacity: Capacity, load: number, seeds: readonly number[]): number => {
  const { models, switchSeconds, on, arrivals } = capacity
  const scenario: Seeded = offered({ models, load, on, arrivals, switchSeconds })
  return mean(seeds.map(seed => mean(sojourns(runBy(rule, scenario(seed), seed)))))
}

/** The highest load, in hundredths, at which the mean sojourn stays within a minute; found by bisection, each load with the same seeds. */
export const highestLoad = (rule: string, capacity: Capacity, seeds: readonly number[]): number => {
  const isWithin = (hundredths: number): boolean => meanSojourn(rule, capacity, hundredths / 100, seeds) <= limitSeconds
  let [within, beyond] = [0, 100]
  while (beyond - within > 1) {
    const middle = (within + beyond) >> 1
    if (isWithin(middle)) within = middle
    else beyond = middle
  }
  return within / 100
}
