import { backoffMs, type RoomierAttempt } from '@comfy-balancer/domain/retry'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { ObjectStore } from '@comfy-balancer/storage/object-store'
import { taskFolder } from '@comfy-balancer/storage/output-path'
import type { Spent } from '@comfy-balancer/task-store/attempts'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { StoredOutput } from '@comfy-balancer/task-store/manifest'
import type { TaskRecord } from '@comfy-balancer/task-store/task-record'
import type { Outcome, RetryOutcome } from './outcome.ts'
import type { AttemptTally } from './tally.ts'
import { untilTaken } from './until-taken.ts'

export type SettlementDeps = {
  readonly ledger: Ledger
  readonly store: ObjectStore
  readonly tally: AttemptTally
  readonly log: Log
  /** What ComfyUI wrote during the attempt so far. */
  readonly logText: () => string
}

/** Problems that have nothing to do with ComfyUI. */
const ours: ReadonlySet<string> = new Set(['input-unavailable', 'output-not-stored'])

export type Settlement = ReturnType<typeof createSettlement>

/** Tells the ledger how an attempt ended, for as long as it takes, and removes the files of one whose result does not count. */
export const createSettlement = (
  record: TaskRecord,
  token: string,
  { ledger, store, tally, log, logText }: SettlementDeps
) => {
  const { id: task, tenant } = record
  const { attempts } = ledger

  let hasEmptiedSlot = false

  const removeOutputs = async (): Promise<void> => {
    await store
      .remove(`${taskFolder({ tenant, taskId: task })}/${token}`)
      .catch(err => log.warn({ err }, 'outputs of a lost attempt not removed'))
  }

  /** What attempts before this one left behind when their node died. */
  const removeLosers = async (): Promise<void> => {
    if (record.attempt === 1) return
    const folder = taskFolder({ tenant, taskId: task })
    try {
      const tokens = (await store.list(folder)).map(({ path }) => path.slice(folder.length + 1).split('/', 1)[0])
      for (const one of new Set(tokens)) if (one !== token) await store.remove(`${folder}/${one}`)
    } catch (err) {
      log.warn({ err }, 'outputs of lost attempts not removed')
    }
  }

  return {
    /** Whether the ledger took what it was told, and with it the slot from this attempt. */
    hasEmptiedSlot: (): boolean => hasEmptiedSlot,

    /** The result counts, unless the ledger has given the task to another attempt or ended it meanwhile. */
    async succeed(outputs: readonly StoredOutput[], spent: Spent): Promise<void> {
      const answer = await untilTaken(() => attempts.complete(task, token, outputs, spent, logText()), log)
      hasEmptiedSlot = answer === 'ok'
      tally.ended(hasEmptiedSlot ? 'succeeded' : 'refused')
      if (hasEmptiedSlot) {
        tally.spent(spent)
        log.info({ ...spent, outputs: outputs.length }, 'task succeeded')
        return removeLosers()
      }
      log.warn({ answer }, 'late result refused')
      await removeOutputs()
    },

    /** The task fails for good. */
    async fail({ problem }: Extract<Outcome, { kind: 'failed' }>, gpuSeconds: number): Promise<void> {
      const answer = await untilTaken(() => attempts.fail(task, token, problem, gpuSeconds, logText()), log)
      hasEmptiedSlot = answer === 'failed'
      tally.ended(hasEmptiedSlot ? 'failed' : 'refused')
      const { code, detail: reason } = problem
      const errorSource = ours.has(code) ? 'ours' : 'comfyui'
      log.warn({ errorSource, code, reason, answer }, 'task failed')
      await removeOutputs()
      if (hasEmptiedSlot) await removeLosers()
    },

    /** The task goes back to its queue, or fails when the budget of this class is used up. */
    async sendBack(outcome: RetryOutcome, next?: RoomierAttempt): Promise<void> {
      const { class: retryClass, problem: exhausted, why: reason, errorSource } = outcome
      const backoff = backoffMs(record.attempt - 1, Math.random())
      const retry = { class: retryClass, exhausted, backoffMs: backoff, ...next }
      const { kind: answer, quarantinedMs } = await untilTaken(() => attempts.retry(task, token, retry, logText()), log)
      hasEmptiedSlot = answer === 'retried' || answer === 'failed'
      tally.ended(answer === 'retried' || answer === 'failed' ? answer : 'refused')
      if (hasEmptiedSlot) tally.retried(retryClass)
      log.warn({ errorSource, class: retryClass, reason, answer }, 'attempt gave no result')
      if (quarantinedMs > 0) log.error({ errorSource, quarantinedMs }, 'node quarantined')
      await removeOutputs()
    },

    removeOutputs
  }
}
