import { EventQueue } from './event-queue.ts'
import type { VirtualJob, VirtualRun } from './virtual-job.ts'
import { type VirtualGpu, type VirtualModels, VirtualNode } from './virtual-node.ts'

/** A hand-over: the job goes into that node's own queue. */
export type HandOver = { readonly node: VirtualNode; readonly job: VirtualJob }

/** What a rule may look at. */
export type VirtualFleet = {
  readonly nowMs: number
  readonly nodes: readonly VirtualNode[]
  /** Jobs that were not handed over, in the order in which they came. */
  readonly waiting: ReadonlyMap<string, VirtualJob>
}

/** How an attempt went. */
export type Spent = { readonly loadSeconds: number; readonly executionSeconds: number }

/** A way to place jobs on nodes. The hooks keep its books. */
export type Rule = {
  readonly name: string
  /** Who gets what now; asked after whatever happened. */
  readonly decide: (fleet: VirtualFleet) => readonly HandOver[]
  /** It also looks this often while jobs wait. */
  readonly tickMs?: number
  /** How long after a crash it has the node's jobs back; when left out they are lost. */
  readonly recoversMs?: number
  /** After so long without a result it queues a job again, though the node may still be at it. */
  readonly timesOutMs?: number
  readonly joined?: (job: VirtualJob, fleet: VirtualFleet) => void
  readonly left?: (job: VirtualJob) => void
  readonly ended?: (job: VirtualJob, node: VirtualNode, spent: Spent) => void
  readonly etaSeconds?: (job: VirtualJob, fleet: VirtualFleet) => number | undefined
}

/** A fleet, what it is asked to do and what goes wrong. */
export type Scenario = VirtualModels & {
  readonly gpus: readonly VirtualGpu[]
  readonly jobs: readonly VirtualJob[]
  readonly crashes?: readonly { readonly node: string; readonly atMs: number; readonly downMs: number }[]
}

type Told = {
  job: VirtualJob
  claimedMs: number | undefined
  attempts: number
  eta: number | undefined
  timeouts: number
}

/** Runs a rule over a scenario in virtual time until every job has ended. Draws nothing by itself: the same input, the same runs. */
export const simulate = ({ gpus, jobs, crashes = [], ...models }: Scenario, rule: Rule): VirtualRun[] => {
  const events = new EventQueue<() => void>()
  const nodes = gpus.map(gpu => new VirtualNode(gpu, models))
  const waiting = new Map<string, VirtualJob>()
  const open = new Map<string, Told>()
  const runs: VirtualRun[] = []
  let nowMs = 0
  const fleet: VirtualFleet = {
    nodes,
    waiting,
    get nowMs() {
      return nowMs
    }
  }

  const wait = (job: VirtualJob): void => {
    waiting.set(job.id, job)
    rule.joined?.(job, fleet)
  }

  const unwait = (job: VirtualJob): void => {
    if (waiting.delete(job.id)) rule.left?.(job)
  }

  const end = (job: VirtualJob, state: VirtualRun['state'], on: string, startedMs = nowMs, loaded = false): void => {
    const told = open.get(job.id)
    if (!told || !open.delete(job.id)) return
    unwait(job)
    const { claimedMs = nowMs, attempts, eta: etaSeconds } = told
    runs.push({ ...job, state, claimedMs, startedMs, endedMs: nowMs, on, loaded, attempts, etaSeconds })
  }

  const begin = (node: VirtualNode): void => {
    const attempt = node.begin(nowMs)
    if (!attempt) return
    if (!open.has(attempt.job.id)) {
      drop(node)
      return
    }
    events.add(attempt.endsMs, () => {
      if (node.attempt !== attempt) return
      node.attempt = undefined
      const loadSeconds = attempt.loadMs / 1000
      rule.ended?.(attempt.job, node, {
        loadSeconds,
        executionSeconds: (nowMs - attempt.startedMs) / 1000 - loadSeconds
      })
      end(attempt.job, 'succeeded', node.id, attempt.startedMs, loadSeconds > 0)
      begin(node)
    })
  }

  /** Its prompt is interrupted, or nobody waits for it any more. */
  const drop = (node: VirtualNode): void => {
    node.attempt = undefined
    begin(node)
  }

  const handOver = ({ node, job }: HandOver): void => {
    const told = open.get(job.id)
    if (!told) return
    unwait(job)
    told.claimedMs ??= nowMs
    told.attempts++
    node.queue.push(job)
    begin(node)
    if (rule.timesOutMs !== undefined && told.timeouts++ < maxTimeouts)
      events.add(nowMs + rule.timesOutMs, () => void (open.has(job.id) && !waiting.has(job.id) && wait(job)))
  }

  const cancel = (job: VirtualJob): void => {
    const node = nodes.find(one => one.attempt?.job === job || one.queue.includes(job))
    end(job, 'cancelled', node?.id ?? '')
    if (!node) return
    if (node.attempt?.job === job) {
      rule.ended?.(job, node, { loadSeconds: 0, executionSeconds: 0 })
      drop(node)
    } else node.queue.splice(node.queue.indexOf(job), 1)
  }

  const crash = (node: VirtualNode, downMs: number): void => {
    if (!node.isUp) return
    const inside = node.crash().filter(job => open.has(job.id))
    if (rule.recoversMs !== undefined) {
      events.add(nowMs + rule.recoversMs, () => {
        for (const job of inside.filter(({ id }) => open.has(id))) wait(job)
      })
    } else if (rule.timesOutMs === undefined) for (const job of inside) end(job, 'lost', node.id)
    events.add(nowMs + downMs, () => {
      node.isUp = true
      begin(node)
    })
  }

  for (const job of jobs) {
    events.add(job.atMs, () => {
      const told: Told = { job, claimedMs: undefined, attempts: 0, eta: undefined, timeouts: 0 }
      open.set(job.id, told)
      wait(job)
      told.eta = rule.etaSeconds?.(job, fleet)
    })
    if (job.cancelMs !== undefined) events.add(job.cancelMs, () => cancel(job))
  }
  for (const { node: id, atMs, downMs } of crashes) {
    const node = nodes.find(one => one.id === id)
    if (node) events.add(atMs, () => crash(node, downMs))
  }

  let tickMs = Number.NEGATIVE_INFINITY
  const tick = (): void => {
    if (rule.tickMs === undefined || waiting.size === 0 || tickMs > nowMs) return
    tickMs = (Math.floor(nowMs / rule.tickMs) + 1) * rule.tickMs
    events.add(tickMs, () => {})
  }

  let left = jobs.length
  for (let next = events.next(); next !== undefined && left > 0; next = events.next()) {
    nowMs = next.atMs
    for (const happen of next.what) happen()
    for (let chosen = rule.decide(fleet); chosen.length > 0; chosen = rule.decide(fleet)) chosen.forEach(handOver)
    tick()
    left = jobs.length - runs.length
  }
  return runs
}

/** A job is queued again this often at most. */
const maxTimeouts = 3
