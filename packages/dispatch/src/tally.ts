import type { Metrics } from '@comfy-balancer/service-kit/metrics'
import type { ClaimAnswer } from '@comfy-balancer/task-store/attempts'

/** Why a task was taken back from its node: nothing was heard of it for a lease, or its process was seen to be gone. */
export type RecoveryReason = 'lease-expired' | 'process-gone'

/** Told what the loops decided and did. */
export type DispatchTally = {
  /** A look at what waits led to choices, all of them committed or refused after so long. */
  readonly decided: (seconds: number) => void
  readonly answered: (answer: ClaimAnswer) => void
  readonly recovered: (reason: RecoveryReason, tasks: number) => void
}

/** Counts nothing. */
export const noTally: DispatchTally = { decided: () => {}, answered: () => {}, recovered: () => {} }

const answers: readonly ClaimAnswer[] = ['claimed', 'stale-node', 'not-ready', 'occupied', 'not-queued', 'at-cap']
const reasons: readonly RecoveryReason[] = ['lease-expired', 'process-gone']

/** Shows what the loops decided and did as metrics. */
export const createDispatchTally = (metrics: Metrics): DispatchTally => {
  const seconds = metrics.histogram({
    name: 'comfy_dispatch_decision_seconds',
    help: 'From looking at what waits to the last claim, of looks that led to claims',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
  })
  const claims = metrics.counter({
    name: 'comfy_dispatch_claims_total',
    help: 'Claims of a slot for a task, by answer; all but claimed were refused',
    labelNames: ['answer']
  })
  const recoveries = metrics.counter({
    name: 'comfy_recoveries_total',
    help: 'Tasks taken back from their node, by how that was noticed',
    labelNames: ['reason']
  })
  for (const answer of answers) claims.inc({ answer }, 0)
  for (const reason of reasons) recoveries.inc({ reason }, 0)
  return {
    decided: time => seconds.observe(time),
    answered: answer => claims.inc({ answer }),
    recovered: (reason, tasks) => recoveries.inc({ reason }, tasks)
  }
}
