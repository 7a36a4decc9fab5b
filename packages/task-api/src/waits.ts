import { isTerminal, shownState } from '@comfy-balancer/domain/task-state'
import type { Hints } from '@comfy-balancer/task-store/hints'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { TaskRecord } from '@comfy-balancer/task-store/task-record'

/** So many callers may wait at once; the next is answered at once. */
const maxWaiting = 10_000
/** Hints get lost: whoever waits also looks this often. */
const lookMs = 2_000

export type Waits = ReturnType<typeof createWaits>

/** Long polls: holding an answer back until a task changes, in memory and without a Redis connection each. */
export const createWaits = ({ ledger, hints }: { ledger: Ledger; hints: Hints }) => {
  let waiting = 0

  /** Resolves when the task's hint comes, the look interval is over or the caller is gone. */
  const nudge = (id: string, ms: number, signal: AbortSignal): Promise<void> =>
    new Promise(resolve => {
      const done = () => {
        clearTimeout(timer)
        off()
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, Math.min(lookMs, ms))
      const off = hints.onTask(id, done)
      signal.addEventListener('abort', done, { once: true })
    })

  /** The record as soon as it satisfies `isEnough`, or as it is when the seconds are over. */
  const until = async (
    record: TaskRecord,
    seconds: number,
    signal: AbortSignal,
    isEnough: (now: TaskRecord) => boolean
  ): Promise<TaskRecord> => {
    if (isEnough(record) || seconds <= 0 || waiting >= maxWaiting) return record
    const endMs = performance.now() + seconds * 1000
    const done = new AbortController()
    const abort = () => done.abort()
    signal.addEventListener('abort', abort, { once: true })
    let current = record
    waiting += 1
    try {
      for (;;) {
        const leftMs = endMs - performance.now()
        const nudged = nudge(record.id, Math.max(0, leftMs), done.signal)
        current = (await ledger.tasks.find(record.id, record.tenant)) ?? current
        if (isEnough(current) || leftMs <= 0 || signal.aborted) return current
        await nudged
      }
    } finally {
      waiting -= 1
      signal.removeEventListener('abort', abort)
      done.abort()
    }
  }

  return {
    nudge,

    /** Until the state that callers see differs from the given record's, or the task has ended. */
    forChange: (record: TaskRecord, seconds: number, signal: AbortSignal): Promise<TaskRecord> =>
      until(
        record,
        seconds,
        signal,
        now => shownState(now.state) !== shownState(record.state) || isTerminal(now.state)
      ),

    /** Until the task has ended. */
    forEnd: (record: TaskRecord, seconds: number, signal: AbortSignal): Promise<TaskRecord> =>
      until(record, seconds, signal, now => isTerminal(now.state))
  }
}
