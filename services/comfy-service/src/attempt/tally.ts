import { type RetryClass, retryRules } from '@comfy-balancer/domain/retry'
import type { Metrics } from '@comfy-balancer/service-kit/metrics'
import type { Spent } from '@comfy-balancer/task-store/attempts'
import type { TaskRecord } from '@comfy-balancer/task-store/task-record'

/** How an attempt ended. `refused`: its result came when the task was another's, or had ended. */
export type AttemptEnd = 'succeeded' | 'failed' | 'retried' | 'refused' | 'cancelled' | 'lost'

/** Told how this node's attempts fare. */
export type AttemptTally = {
  readonly taken: (record: TaskRecord) => void
  readonly ended: (how: AttemptEnd) => void
  /** An attempt gave no result for this reason. */
  readonly retried: (why: RetryClass) => void
  /** What a successful attempt took. */
  readonly spent: (spent: Spent) => void
}

const taskSeconds = [0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600]
const loadSeconds = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300]
const ends: readonly AttemptEnd[] = ['succeeded', 'failed', 'retried', 'refused', 'cancelled', 'lost']

/** Shows how this node's attempts fare as metrics. Each attempt is told by one node, so they may be summed over nodes. */
export const createAttemptTally = (metrics: Metrics): AttemptTally => {
  const wait = metrics.histogram({
    name: 'comfy_task_wait_seconds',
    help: 'From acceptance to the claim, of first attempts',
    buckets: taskSeconds
  })
  const load = metrics.histogram({
    name: 'comfy_task_load_seconds',
    help: 'Loading models, of successful attempts that had to',
    buckets: loadSeconds
  })
  const execution = metrics.histogram({
    name: 'comfy_task_execution_seconds',
    help: 'Computing, of successful attempts',
    buckets: taskSeconds
  })
  const attempts = metrics.counter({
    name: 'comfy_attempts_total',
    help: 'Attempts that ended, by how',
    labelNames: ['outcome']
  })
  const retries = metrics.counter({
    name: 'comfy_retries_total',
    help: 'Attempts without a result, by retry class',
    labelNames: ['class']
  })
  for (const outcome of ends) attempts.inc({ outcome }, 0)
  for (const name of Object.keys(retryRules)) if (name !== 'lost') retries.inc({ class: name }, 0)
  return {
    taken: ({ attempt, createdMs, claimedMs }) => {
      if (attempt === 1 && claimedMs !== undefined) wait.observe(Math.max(0, claimedMs - createdMs) / 1_000)
    },
    ended: outcome => attempts.inc({ outcome }),
    retried: why => retries.inc({ class: why }),
    spent: spent => {
      if (spent.loaded) load.observe(spent.loadSeconds)
      execution.observe(spent.executionSeconds)
    }
  }
}
