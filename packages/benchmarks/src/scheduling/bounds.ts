import type { Scenario } from '@comfy-balancer/domain/virtual-fleet/simulate'
import type { VirtualJob } from '@comfy-balancer/domain/virtual-fleet/virtual-job'

/** No rule can do better than these, in seconds. */
export type Bounds = { readonly meanSojourn: number; readonly makespan: number }

/**
 * What the fleet could do if it were one GPU as fast as all together, which may work on any share of a job. Two bounds hold for the mean: SRPT
 * there; and half of each job's own time on the fastest GPU more than the mean of the times at which it is worked on there, shortest first
 * (Goemans, Wein and Williamson 2000). The larger one counts. Every model that nobody holds has to be loaded once, at the least.
 */
export const boundsOf = (scenario: Scenario): Bounds => {
  const { gpus, jobs } = scenario
  const speed = gpus.reduce((sum, gpu) => sum + gpu.speed, 0)
  const fastest = Math.max(...gpus.map(gpu => gpu.speed))
  const own = mean(jobs.map(job => job.seconds / fastest))
  const srpt = fluid(jobs, speed, part => part.leftSeconds)
  const sojourn = mean(srpt.map(({ job, endSeconds }) => endSeconds - job.atMs / 1000))
  const busy = mean(fluid(jobs, speed, ({ job }) => job.seconds).map(one => one.meanBusySeconds - one.job.atMs / 1000))
  const fluidEnd = Math.max(...srpt.map(({ endSeconds }) => endSeconds))
  const last = Math.max(...jobs.map(job => job.atMs / 1000 + job.seconds / fastest))
  return {
    meanSojourn: Math.max(sojourn, busy + own / 2, own),
    makespan: Math.max(fluidEnd, last, filledEnd(scenario))
  }
}

/** When everything comes at once: the work and the loads, on the slowest GPU where that costs least, spread evenly. 0 otherwise. */
const filledEnd = ({ gpus, jobs, loadSeconds }: Scenario): number => {
  if (jobs.some(job => job.atMs > 0)) return 0
  const held = new Set(gpus.flatMap(gpu => gpu.holds ?? []))
  const missing = [...new Set(jobs.map(job => job.model))].filter(model => !held.has(model))
  const loading = missing.reduce((sum, model) => sum + loadSeconds(model), 0)
  const work = jobs.reduce((sum, job) => sum + job.seconds, 0)
  const slowest = Math.min(...gpus.map(gpu => gpu.speed))
  return (work + loading * slowest) / gpus.reduce((sum, gpu) => sum + gpu.speed, 0)
}

type Part = { readonly job: VirtualJob; leftSeconds: number; busy: number; endSeconds: number; meanBusySeconds: number }

/** Runs the jobs on one fluid GPU, always the one of the lowest rank. */
const fluid = (jobs: readonly VirtualJob[], speed: number, rank: (part: Part) => number): Part[] => {
  const coming = jobs
    .map(job => ({ job, leftSeconds: job.seconds, busy: 0, endSeconds: 0, meanBusySeconds: 0 }))
    .toSorted((a, b) => a.job.atMs - b.job.atMs)
  const open: Part[] = []
  const done: Part[] = []
  let [now, i] = [0, 0]
  while (done.length < coming.length) {
    if (open.length === 0) now = Math.max(now, coming[i]!.job.atMs / 1000)
    while (i < coming.length && coming[i]!.job.atMs / 1000 <= now) open.push(coming[i++]!)
    const part = open.reduce((first, other) => (rank(other) < rank(first) ? other : first))
    const until = Math.min(now + part.leftSeconds / speed, (coming[i]?.job.atMs ?? Number.POSITIVE_INFINITY) / 1000)
    const share = ((until - now) * speed) / part.job.seconds
    part.meanBusySeconds += share * ((until + now) / 2)
    part.leftSeconds -= (until - now) * speed
    now = until
    if (part.leftSeconds > 1e-9) continue
    open.splice(open.indexOf(part), 1)
    done.push({ ...part, endSeconds: now })
  }
  return done
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
