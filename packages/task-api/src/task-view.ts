import type { Task } from '@comfy-balancer/contract/task'
import { etaSeconds, type Outlook, usualSeconds } from '@comfy-balancer/domain/eta'
import { isTerminal, shownState } from '@comfy-balancer/domain/task-state'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { StoredOutput } from '@comfy-balancer/task-store/manifest'
import type { FoundTask } from '@comfy-balancer/task-store/tasks'

const instant = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString())
const seconds = (ms: number): number => Math.round(ms) / 1000

type TaskViewDeps = { readonly ledger: Pick<Ledger, 'waiting'>; readonly outlook: () => Promise<Outlook> }

/** Makes of a record the task as its caller sees it. One that waits needs the outlook for its estimate, and is shown without when there is none. */
export const createTaskView =
  (deps: TaskViewDeps) =>
  async (record: FoundTask): Promise<Task> =>
    viewOf(record, await queueOf(record, deps))

const viewOf = (record: FoundTask, queue: Task['queue']): Task => ({
  id: record.id,
  state: shownState(record.state),
  createdAt: instant(record.createdMs)!,
  startedAt: instant(record.startedMs),
  finishedAt: instant(record.finishedMs),
  queue,
  progress: progressOf(record),
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
})

const viewOutput = (task: string, output: StoredOutput): Task['outputs'][number] => {
  const { attempt, index, path: _, ...shown } = output
  return { url: `/api/v1/tasks/${task}/outputs/${attempt}-${index}`, ...shown }
}

const queueOf = async (record: FoundTask, deps: TaskViewDeps): Promise<Task['queue']> => {
  const { state, claimedMs, charged, standing } = record
  if (isTerminal(state)) return null
  if (claimedMs !== undefined && (state === 'running' || state === 'leased')) {
    return { position: 0, etaSeconds: Math.max(0, seconds(charged * 1000 - (standing.nowMs - claimedMs))) }
  }
  const eta = await etaOf(record, deps).catch(() => undefined)
  return { position: standing.before + 1, etaSeconds: eta === undefined ? null : seconds(eta * 1000) }
}

const etaOf = async (record: FoundTask, { ledger, outlook }: TaskViewDeps): Promise<number | undefined> => {
  const { work, standing, need: needId } = record
  const { usual, knownSeconds } = standing
  if (usualSeconds({ work, knownSeconds }, usual) === undefined) return undefined
  const [need, ahead] = await Promise.all([ledger.waiting.need(needId), outlook()])
  return need && etaSeconds({ needId, need, work, knownSeconds }, standing, usual, ahead)
}

const progressOf = ({ id, state, standing: { node } }: FoundTask): Task['progress'] => {
  if (state === 'succeeded') return { percent: 100, graphNode: null, classType: null, value: null, max: null }
  if (state !== 'running' || node?.slot?.task !== id) return null
  return node.report.progress ?? null
}
