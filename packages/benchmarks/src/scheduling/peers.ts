import type { Rule, VirtualFleet } from '@comfy-balancer/domain/virtual-fleet/simulate'
import type { VirtualJob } from '@comfy-balancer/domain/virtual-fleet/virtual-job'
import type { VirtualNode } from '@comfy-balancer/domain/virtual-fleet/virtual-node'
import type { Random } from '../chaos/random.ts'

/** Chooses a node for a job at once; the job then waits in that ComfyUI's own queue. */
type Choose = (nodes: readonly VirtualNode[], fleet: VirtualFleet) => VirtualNode

/** Every rule that gives jobs away as they come. */
const pushing = (name: string, choose: Choose): Rule => ({
  name,
  decide: fleet => {
    const job = foremost(fleet)
    const nodes = job ? nodesFor(job, fleet) : []
    return job && nodes.length > 0 ? [{ job, node: choose(nodes, fleet) }] : []
  }
})

/** Chooses the next job for a node that has room. */
type Next = (node: VirtualNode, fleet: VirtualFleet) => VirtualJob | undefined

/** Every rule that keeps jobs until a node has room for them. */
const pulling = (name: string, next: Next, more: { depth?: number } & Partial<Rule> = {}): Rule => {
  const { depth = 1, ...rest } = more
  return {
    name,
    ...rest,
    decide: fleet => {
      if (fleet.waiting.size === 0) return []
      for (const node of fleet.nodes.filter(one => one.isUp && one.length < depth)) {
        const job = next(node, fleet)
        if (job) return [{ node, job }]
      }
      return []
    }
  }
}

const nodesFor = (job: VirtualJob, { nodes }: VirtualFleet): VirtualNode[] =>
  nodes.filter(node => node.isUp && mayRun(node, job))

const mayRun = (node: VirtualNode, job: VirtualJob): boolean => job.node === undefined || job.node === node.id

const foremost = ({ waiting }: VirtualFleet): VirtualJob | undefined => waiting.values().next().value

const oldest: Next = (node, { waiting }) => {
  for (const job of waiting.values()) if (mayRun(node, job)) return job
  return undefined
}

const least = <T>(values: readonly T[], of: (value: T) => number): T =>
  values.reduce((first, other) => (of(other) < of(first) ? other : first))

const oneOf = <T>(random: Random, values: readonly T[]): T => values[Math.floor(random() * values.length)]!

/** What nodes told with their last heartbeat, every five seconds. */
const heartbeats = (
  tell: (node: VirtualNode, nowMs: number) => number
): ((fleet: VirtualFleet) => (node: VirtualNode) => number) => {
  let told = new Map<VirtualNode, number>()
  let beat = -1
  return ({ nodes, nowMs }) => {
    const now = Math.floor(nowMs / heartbeatMs)
    if (now > beat) told = new Map(nodes.map(node => [node, tell(node, nowMs)]))
    beat = now
    return node => told.get(node) ?? 0
  }
}
const heartbeatMs = 5_000

const randomRule = (random: Random): Rule => pushing('random', nodes => oneOf(random, nodes))

/** What `least_conn` and `leastconn` become where a request ends as soon as the prompt is queued: no connection is ever open. */
const roundRobin = (): Rule => {
  let turn = 0
  return pushing('round robin (nginx, HAProxy)', nodes => nodes[turn++ % nodes.length]!)
}

const powerOfTwo = (random: Random): Rule =>
  pushing('power of two choices', nodes => {
    const [a, b] = [oneOf(random, nodes), oneOf(random, nodes)]
    return b.length < a.length ? b : a
  })

const shortestQueue = (random: Random): Rule =>
  pushing('join shortest queue', nodes => {
    const shortest = Math.min(...nodes.map(node => node.length))
    return oneOf(
      random,
      nodes.filter(node => node.length === shortest)
    )
  })

const oldShortestQueue = (random: Random): Rule => {
  const told = heartbeats(node => node.length)
  return {
    ...pushing('shortest queue, 5 s old', (nodes, fleet) => {
      const length = told(fleet)
      const shortest = Math.min(...nodes.map(length))
      return oneOf(
        random,
        nodes.filter(node => length(node) === shortest)
      )
    })
  }
}

const lowestUtilization = (random: Random): Rule => {
  const told = heartbeats((node, nowMs) => node.utilization(nowMs))
  return pushing('lowest GPU utilisation, 5 s old', (nodes, fleet) => {
    const busy = told(fleet)
    const lowest = Math.min(...nodes.map(busy))
    return oneOf(
      random,
      nodes.filter(node => busy(node) === lowest)
    )
  })
}

/** ComfyPool's PICK_LOWEST: the queue that each ComfyUI tells of. */
const lowestQueue = (): Rule => pushing('lowest queue, in list order', nodes => least(nodes, node => node.length))

/** ComfyPool's PICK_ZERO. */
const firstIdle = (): Rule => pulling('first idle, in list order', oldest)

const centralFifo = (random: Random): Rule => ({
  name: 'central FIFO',
  decide: fleet => {
    const job = foremost(fleet)
    if (!job) return []
    for (const one of fleet.waiting.values()) {
      const idle = nodesFor(one, fleet).filter(node => node.length === 0)
      if (idle.length > 0) return [{ job: one, node: oneOf(random, idle) }]
      if (fleet.nodes.every(node => node.length > 0 || !node.isUp)) return []
    }
    return []
  }
})

/** Two prompts in each ComfyUI; looks every 1.5 s for the model with the most pressure: ten for each job of it, and the age of the oldest. */
const modelPressure = (): Rule => {
  const next: Next = (node, { waiting, nowMs }) => {
    const models = new Map<string, { first: VirtualJob; count: number }>()
    for (const job of waiting.values()) {
      if (!mayRun(node, job)) continue
      const known = models.get(job.model)
      if (known) known.count++
      else models.set(job.model, { first: job, count: 1 })
    }
    if (models.size === 0) return undefined
    return least([...models.values()], ({ first, count }) => -(count * 10 + (nowMs - first.atMs) / 1000)).first
  }
  const rule = pulling('two in flight, model pressure', next, { depth: 2, tickMs: pressureMs })
  return { ...rule, decide: fleet => (fleet.nowMs % pressureMs === 0 ? rule.decide(fleet) : []) }
}
const pressureMs = 1_500

const residentFirst = (): Rule =>
  pulling('oldest of the resident model', (node, fleet) => {
    for (const job of fleet.waiting.values()) if (mayRun(node, job) && node.resident.includes(job.model)) return job
    return oldest(node, fleet)
  })

const requeueing = (): Rule => pulling('requeue after 150 s', oldest, { timesOutMs: 150_000 })

/** What no dispatcher can be: one that knows every size exactly, and never minds whom it lets wait. */
export const shortestFirst = (): Rule =>
  pulling('shortest first', (node, { waiting }) => {
    const jobs = [...waiting.values()].filter(job => mayRun(node, job))
    return jobs.length > 0 ? least(jobs, job => job.seconds) : undefined
  })

/** The rules that users would have instead, written by us from what is published about them. */
export const peers = (random: Random): Rule[] => [
  randomRule(random),
  roundRobin(),
  powerOfTwo(random),
  shortestQueue(random),
  oldShortestQueue(random),
  lowestUtilization(random),
  firstIdle(),
  lowestQueue(),
  centralFifo(random),
  modelPressure(),
  residentFirst(),
  requeueing()
]
