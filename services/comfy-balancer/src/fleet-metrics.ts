import { nodeStates } from '@comfy-balancer/contract/node'
import { problemTable } from '@comfy-balancer/contract/problem'
import { taskStates } from '@comfy-balancer/contract/task'
import { isTerminal } from '@comfy-balancer/domain/task-state'
import { every, type Loop } from '@comfy-balancer/service-kit/every'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Metrics } from '@comfy-balancer/service-kit/metrics'
import { stateOf } from '@comfy-balancer/task-api/node-view'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import { leadingTenants } from './leading-tenants.ts'

export type FleetMetricsDeps = { readonly ledger: Ledger; readonly log: Log }

const readMs = 2_000
/** So many tenants have series of their own. */
const namedTenants = 10
const endStates = taskStates.filter(isTerminal)
const failureCodes = Object.entries(problemTable).flatMap(([code, { status }]) => (status === 0 ? [code] : []))

/**
 * Shows nodes, queues and the ends of tasks as the ledger has them, read every two seconds whether or not anybody scrapes. Every balancer
 * shows the same figures: take the largest, never the sum. While the ledger does not answer the last ones stay.
 */
export const measureFleet = (metrics: Metrics, { ledger, log }: FleetMetricsDeps): Loop => {
  const nodes = createNodeGauges(metrics)
  const work = createWorkGauges(metrics)
  return every({
    name: 'fleet metrics',
    intervalMs: readMs,
    jitter: 0.2,
    log,
    run: async () => {
      const [fleet, backlog, oldest, refused] = await Promise.all([
        ledger.nodes.list(),
        ledger.waiting.backlog(),
        ledger.waiting.oldestByTenant(),
        ledger.quarantine.count()
      ])
      nodes(ledger, fleet)
      work(backlog, oldest, fleet.nowMs, refused)
    }
  })
}

type Fleet = Awaited<ReturnType<Ledger['nodes']['list']>>
type Backlog = Awaited<ReturnType<Ledger['waiting']['backlog']>>

const createNodeGauges = (metrics: Metrics) => {
  const byState = metrics.gauge({
    name: 'comfy_nodes',
    help: 'Nodes of the last day by state',
    labelNames: ['state']
  })
  const idle = metrics.gauge({ name: 'comfy_nodes_idle', help: 'Nodes that are ready and run nothing' })
  const up = metrics.gauge({
    name: 'comfy_node_up',
    help: '1 while a node and its ComfyUI answer; a node is forgotten after a day of silence',
    labelNames: ['node']
  })
  return (ledger: Ledger, { nodes, nowMs }: Fleet): void => {
    const seen = nodes.map(node => ({ ...node, state: stateOf(ledger, node, nowMs) }))
    for (const state of nodeStates) byState.set({ state }, seen.filter(node => node.state === state).length)
    idle.set(seen.filter(node => node.state === 'ready' && node.intent === 'ready' && !node.slot).length)
    up.reset()
    for (const { id, state } of seen) up.set({ node: id }, state === 'down' ? 0 : 1)
  }
}

const createWorkGauges = (metrics: Metrics) => {
  const tasks = metrics.gauge({
    name: 'comfy_tasks_in_progress',
    help: 'Tasks that have not ended, by state; delayed ones wait for a back-off to end',
    labelNames: ['state']
  })
  const depth = metrics.gauge({
    name: 'comfy_queue_depth',
    help: 'Waiting tasks by tenant: the ten with most, and the others together as _other',
    labelNames: ['tenant']
  })
  const age = metrics.gauge({
    name: 'comfy_queue_oldest_age_seconds',
    help: 'Since the foremost waiting task of a tenant was accepted; of the tenants in _other the oldest',
    labelNames: ['tenant']
  })
  const finished = metrics.counter({
    name: 'comfy_tasks_finished_total',
    help: 'Tasks that ended since the ledger began, by state',
    labelNames: ['state']
  })
  const failed = metrics.counter({
    name: 'comfy_tasks_failed_total',
    help: 'Failed tasks since the ledger began, by the code of their error',
    labelNames: ['code']
  })
  const quarantined = metrics.gauge({
    name: 'comfy_workflows_quarantined',
    help: 'Workflows that are refused because they took ComfyUI down on several nodes'
  })
  const quarantines = metrics.counter({
    name: 'comfy_node_quarantines_total',
    help: 'Times that a node was left alone because its attempts failed in a row, since the ledger began'
  })
  return (backlog: Backlog, oldest: ReadonlyMap<string, number>, nowMs: number, refused: number): void => {
    const queued = Object.values(backlog.queuedByTenant).reduce((sum, count) => sum + count, 0)
    for (const [state, count] of Object.entries({ queued, delayed: backlog.delayed, running: backlog.running }))
      tasks.set({ state }, count)
    depth.reset()
    age.reset()
    for (const row of leadingTenants(backlog.queuedByTenant, oldest, namedTenants)) {
      depth.set({ tenant: row.tenant }, row.waiting)
      age.set({ tenant: row.tenant }, row.oldestMs === undefined ? 0 : Math.max(0, nowMs - row.oldestMs) / 1_000)
    }
    finished.reset()
    for (const state of endStates) finished.inc({ state }, backlog.finished[state] ?? 0)
    failed.reset()
    for (const code of failureCodes) failed.inc({ code }, backlog.failedByCode[code] ?? 0)
    quarantined.set(refused)
    quarantines.reset()
    quarantines.inc(backlog.nodeQuarantines)
  }
}
