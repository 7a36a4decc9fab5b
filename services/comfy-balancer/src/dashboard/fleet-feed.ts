import type { FleetTotals, NodeGlance, NodeHistory, QueueGlance } from '@comfy-balancer/contract/fleet-update'
import { nodeStates } from '@comfy-balancer/contract/node'
import { every } from '@comfy-balancer/service-kit/every'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { Backlog, WaitingQueue } from '@comfy-balancer/task-store/waiting'
import { createEndedTasks } from './ended-tasks.ts'
import { createFleetViewers, type Viewer } from './fleet-viewers.ts'
import { glanceAtNode } from './node-glance.ts'
import { createNodeHistory, sampleSeconds } from './node-history.ts'
import { createThroughput } from './throughput.ts'

export type FleetFeedDeps = { readonly ledger: Ledger; readonly log: Log; readonly logdyUrl: string | undefined }
export type FleetFeed = ReturnType<typeof createFleetFeed>

const updateMs = 1_000

/** What dashboards are told: looked up once a second for all of them, and every five seconds for the history when nobody looks. */
export const createFleetFeed = ({ ledger, log, logdyUrl }: FleetFeedDeps) => {
  const viewers = createFleetViewers()
  const history = createNodeHistory()
  const throughput = createThroughput()
  const ended = createEndedTasks({ ledger })
  let told = new Map<string, string>()
  let toldQueues = ''
  let sampledAtMs = Number.NEGATIVE_INFINITY

  const publish = async (look: Look, samples: Record<string, NodeHistory> | undefined): Promise<void> => {
    const { nodes: records, nowMs, backlog } = look
    const [nodes, waiting, isNewlyEnded] = await Promise.all([
      Promise.all(records.map(node => glanceAtNode(ledger, node, nowMs))),
      ledger.waiting.queues(),
      ended.refresh()
    ])
    nodes.sort((a, b) => a.id.localeCompare(b.id, 'en', { numeric: true }))
    const texts = new Map(nodes.map(node => [node.id, JSON.stringify(node)]))
    const queues = waiting.map(glanceAtQueue)
    const queuesText = JSON.stringify(queues)
    const base = {
      at: new Date(nowMs).toISOString(),
      totals: {
        ...totalsOf(nodes, backlog, waiting),
        ...throughput.window(),
        reloadShare: reloadShareOf(ended.all())
      },
      sampleSeconds,
      logdyUrl: logdyUrl ?? null
    }
    viewers.publish({
      whole: { ...base, isWhole: true, nodes, gone: [], queues, ended: ended.all(), history: history.all() },
      change: {
        ...base,
        isWhole: false,
        nodes: nodes.filter(({ id }) => texts.get(id) !== told.get(id)),
        gone: [...told.keys()].filter(id => !texts.has(id)),
        ...(queuesText === toldQueues ? {} : { queues }),
        ...(isNewlyEnded ? { ended: ended.all() } : {}),
        ...(samples ? { history: samples } : {})
      }
    })
    told = texts
    toldQueues = queuesText
  }

  const look = async (): Promise<void> => {
    const isDue = performance.now() - sampledAtMs >= sampleSeconds * 1000 - updateMs / 2
    if (!isDue && viewers.size === 0) return
    const [{ nodes, nowMs }, backlog] = await Promise.all([ledger.nodes.list(), ledger.waiting.backlog()])
    const samples = isDue ? history.sample(nodes, node => ledger.nodes.isAlive(node, nowMs)) : undefined
    if (isDue) {
      sampledAtMs = performance.now()
      throughput.sample(nowMs, backlog.finished)
    }
    if (viewers.size > 0) await publish({ nodes, nowMs, backlog }, samples)
  }

  let loop: ReturnType<typeof every> | undefined

  return {
    /** Starts to look. */
    begin(): void {
      loop = every({ name: 'fleet feed', intervalMs: updateMs, log, run: look })
    },

    stop: async (): Promise<void> => loop?.stop(),

    viewers: (): number => viewers.size,

    /** Adds a dashboard, which is told everything at once. Returns how to remove it. */
    add(viewer: Viewer): () => void {
      const remove = viewers.add(viewer)
      loop?.wake()
      return remove
    }
  }
}

type Look = Awaited<ReturnType<Ledger['nodes']['list']>> & { readonly backlog: Backlog }

const instant = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString())

const glanceAtQueue = ({ tenant, models, waiting, foremostMs }: WaitingQueue): QueueGlance => ({
  tenant,
  models: [...models],
  waiting,
  foremostAt: instant(foremostMs)
})

type Counted = Pick<FleetTotals, 'nodes' | 'running' | 'queued' | 'delayed' | 'oldestAt'>

const totalsOf = (nodes: readonly NodeGlance[], backlog: Backlog, queues: readonly WaitingQueue[]): Counted => {
  const foremost = queues.flatMap(({ foremostMs }) => foremostMs ?? [])
  return {
    nodes: Object.fromEntries(nodeStates.map(state => [state, nodes.filter(node => node.state === state).length])),
    running: backlog.running,
    queued: Object.values(backlog.queuedByTenant).reduce((sum, count) => sum + count, 0),
    delayed: backlog.delayed,
    oldestAt: instant(foremost.length > 0 ? Math.min(...foremost) : undefined)
  }
}

const reloadShareOf = (tasks: readonly { readonly state: string; readonly reloaded: boolean }[]): number | null => {
  const succeeded = tasks.filter(({ state }) => state === 'succeeded')
  return succeeded.length === 0 ? null : succeeded.filter(({ reloaded }) => reloaded).length / succeeded.length
}
