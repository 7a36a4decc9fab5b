import type { Task } from '@comfy-balancer/contract/task'
import { etaSeconds } from '@comfy-balancer/domain/eta'
import { isTerminal, shownState } from '@comfy-balancer/domain/task-state'
import type { StoredOutput } from '@comfy-balancer/task-store/manifest'
import type { FoundTask } from '@comfy-balancer/task-store/tasks'

const instant = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString())
const seconds = (ms: number): number => Math.round(ms) / 1000

/** A task as its caller sees it. */
export const viewTask = (record: FoundTask): Task => ({
  id: record.id,
  state: shownState(record.state),
  createdAt: instant(record.createdMs)!,
  startedAt: instant(record.startedMs),
  finishedAt: instant(record.finishedMs),
  queue: queueOf(record),
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

const queueOf = ({ state, claimedMs, charged, work, standing }: FoundTask): Task['queue'] => {
  if (isTerminal(state)) return null
  const { nowMs, before, secondsPerWork, nodesAlive: nodes } = standing
  if (claimedMs !== undefined && (state === 'running' || state === 'leased')) {
    return { position: 0, etaSeconds: Math.max(0, seconds(charged * 1000 - (nowMs - claimedMs))) }
  }
  const position = before + 1
  if (secondsPerWork === undefined || nodes === 0) return { position, etaSeconds: null }
  return {
    position,
    etaSeconds: seconds(etaSeconds({ ...standing, nodes, taskSeconds: secondsPerWork * work }) * 1000)
  }
}

const progressOf = ({ id, state, standing: { node } }: FoundTask): Task['progress'] => {
  if (state === 'succeeded') return { percent: 100, graphNode: null, classType: null, value: null, max: null }
  if (state !== 'running' || node?.slot?.task !== id) return null
  return node.report.progress ?? null
}
