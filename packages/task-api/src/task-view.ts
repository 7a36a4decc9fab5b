import type { Task } from '@comfy-balancer/contract/task'
import { isTerminal, shownState } from '@comfy-balancer/domain/task-state'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { StoredOutput } from '@comfy-balancer/task-store/manifest'
import type { TaskRecord } from '@comfy-balancer/task-store/task-record'
import type { FoundTask } from '@comfy-balancer/task-store/tasks'

const instant = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString())
const seconds = (ms: number): number => Math.round(ms) / 1000

/** A task as its caller sees it, put together from the ledger. */
export const viewTask = async (ledger: Ledger, record: FoundTask): Promise<Task> => {
  const [queue, progress] = await Promise.all([queueOf(ledger, record), progressOf(ledger, record)])
  return {
    id: record.id,
    state: shownState(record.state),
    createdAt: instant(record.createdMs)!,
    startedAt: instant(record.startedMs),
    finishedAt: instant(record.finishedMs),
    queue,
    progress,
    attempt: record.attempt,
    node: record.node ?? null,
    outputs: record.result.outputs.map(output => viewOutput(record.id, output)),
    error: record.result.error ?? null,
    timings: {
      queuedSeconds: record.firstClaimedMs === undefined ? null : seconds(record.firstClaimedMs - record.createdMs),
      loadSeconds: record.loadSeconds ?? null,
      executionSeconds: record.executionSeconds ?? null
    },
    seed: record.seed ?? null,
    client_id: record.clientId ?? null,
    template: record.template ?? null,
    group: record.group ?? null,
    priority: record.priority,
    metadata: record.metadata,
    links: { self: `/api/v1/tasks/${record.id}`, events: `/api/v1/tasks/${record.id}/events` }
  }
}

const viewOutput = (task: string, output: StoredOutput): Task['outputs'][number] => {
  const { attempt, index, path: _, ...shown } = output
  return { url: `/api/v1/tasks/${task}/outputs/${attempt}-${index}`, ...shown }
}

const queueOf = async (ledger: Ledger, record: TaskRecord): Promise<Task['queue']> => {
  if (isTerminal(record.state)) return null
  if (record.claimedMs !== undefined && (record.state === 'running' || record.state === 'leased')) {
    const { nowMs } = await ledger.nodes.now()
    return { position: 0, etaSeconds: Math.max(0, seconds(record.charged * 1000 - (nowMs - record.claimedMs))) }
  }
  const [position, learned, ready] = await Promise.all([
    ledger.tasks.position(record),
    ledger.waiting.learned(record.need),
    ledger.nodes.countAlive()
  ])
  const perWork = learned.execution.fleet
  if (perWork === undefined || ready === 0) return { position, etaSeconds: null }
  return { position, etaSeconds: seconds(Math.ceil(position / ready) * perWork * record.work * 1000) }
}

const progressOf = async (ledger: Ledger, record: TaskRecord): Promise<Task['progress']> => {
  if (record.state === 'succeeded') return { percent: 100, graphNode: null, classType: null, value: null, max: null }
  if (record.state !== 'running' || record.node === undefined) return null
  const node = await ledger.nodes.find(record.node)
  return node?.slot?.task === record.id ? (node.report.progress ?? null) : null
}
