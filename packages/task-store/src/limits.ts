import { problem } from '@comfy-balancer/contract/problem'
import { retryRules } from '@comfy-balancer/domain/retry'

/** The ledger's times and bounds. All in ms unless the name says otherwise; every process on one ledger must use the same. */
export type Limits = {
  /** How long a slot lasts without a heartbeat that names its token. */
  readonly leaseMs: number
  /** A node silent for longer takes no new task: three missed heartbeats. */
  readonly aliveMs: number
  /** Without a sweep for so long we assume that we were blind, not that the nodes died. */
  readonly blindMs: number
  /** How long succeeded, cancelled and expired tasks are kept. */
  readonly keepMs: number
  readonly keepFailedMs: number
  /** How long a silent node stays known: its capabilities still count for admission. */
  readonly keepNodeMs: number
  /** How long needs and what was learned about them are kept after their last use; longer than any task may wait. */
  readonly keepNeedMs: number
  /** So many graphs are known by what they took; those that ran longest ago are forgotten. */
  readonly maxGraphs: number
  readonly idempotencyMs: number
  /** How long an event is kept for a webhook that does not take it; longer than any schedule of retries. */
  readonly keepOwedMs: number
  /** Tasks that may wait in all. */
  readonly maxQueued: number
  /** Tasks of one tenant that a listing reaches. */
  readonly maxListed: number
  /** Templates that one tenant may store. */
  readonly maxTemplates: number
  /** Bytes of uploaded files that one tenant keeps at a time, where its limits say nothing else. */
  readonly maxInputBytes: number
  /** Tasks of all tenants that ended last and are remembered for operators. */
  readonly maxEnded: number
  /** Of ComfyUI's log lines that are kept with a task. */
  readonly maxLogBytes: number
  /** So many node faults in a row put a node into quarantine: for this long the first time, twice as long the second, at most so long. */
  readonly quarantineFaults: number
  readonly quarantineMs: number
  readonly maxQuarantineMs: number
  /** At most this share of the living nodes is in quarantine, though always one may be. */
  readonly quarantineShare: number
  /** How long a workflow that took ComfyUI down on several nodes is refused. */
  readonly poisonMs: number
  /** Beyond this share of Redis' maxmemory nothing is accepted any more. */
  readonly maxMemoryShare: number
  /** Tests only, by scratch-ledger: the key that holds the ledger's time, instead of Redis' own clock. */
  readonly clockKey?: string
}

const second = 1000
const hour = 3_600 * second

export const defaultLimits: Limits = {
  leaseMs: 5 * second,
  aliveMs: 3 * second,
  blindMs: 5 * second,
  keepMs: 24 * hour,
  keepFailedMs: 7 * 24 * hour,
  keepNodeMs: 24 * hour,
  keepNeedMs: 15 * 24 * hour,
  maxGraphs: 10_000,
  idempotencyMs: 24 * hour,
  keepOwedMs: 15 * 24 * hour,
  maxQueued: 100_000,
  maxListed: 10_000,
  maxTemplates: 1_000,
  maxInputBytes: 10 * 2 ** 30,
  maxEnded: 100,
  maxLogBytes: 65_536,
  quarantineFaults: 3,
  quarantineMs: 30 * second,
  maxQuarantineMs: 300 * second,
  quarantineShare: 0.3,
  poisonMs: hour,
  maxMemoryShare: 0.75
}

/** The limits as the scripts read them, with the problems that only a script can decide on. */
export const scriptLimits = (limits: Limits): Readonly<Record<string, number | string>> => ({
  ...limits,
  lostBudget: retryRules.lost.budget,
  lostProblem: JSON.stringify(
    problem(
      'attempts-exhausted',
      `the lease ran out under ${retryRules.lost.budget + 1} attempts: several nodes went away with this task`
    )
  ),
  timeoutProblem: JSON.stringify(problem('timed-out', 'an attempt took longer than timeoutSeconds')),
  deadlineProblem: JSON.stringify(problem('timed-out', 'the task did not finish within deadlineSeconds'))
})
