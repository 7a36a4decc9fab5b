import { isTerminal, type LedgerState, shownState } from '@comfy-balancer/domain/task-state'
import type { Hints } from '@comfy-balancer/task-store/hints'
import type { FoundTask } from '@comfy-balancer/task-store/tasks'

/** So many callers may wait at once; the next is answered at once. */
const maxWaiting = 10_000
/** Hints get lost: whoever waits also looks this often. */
const lookMs = 2_000

/** Why a wait is over; an error made for it would cost its stack trace each time. */
const over = 'the wait is over'

/** Which task to wait for, how to read it, for how long at most, and what ends it before. */
export type Wait = {
  readonly id: string
  readonly read: () => Promise<FoundTask>
  readonly seconds: number
  readonly signal: AbortSignal
}

export type Waits = ReturnType<typeof createWaits>

/** Long polls: holding an answer back until a task changes, in memory and without a Redis connection each. */
export const createWaits = ({ hints }: { readonly hints: Hints }) => {
  let waiting = 0

  /** Resolves when the task is said to be in a state that `isEnough`, after so many ms, or when the caller is gone. */
  const nudge = (
    id: string,
    ms: number,
    signal: AbortSignal,
    isEnough: (state: LedgerState) => boolean = () => true
  ): Promise<void> =>
    new Promise(resolve => {
      const done = () => {
        clearTimeout(timer)
        off()
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      const off = hints.onTask(id, state => void ((state === undefined || isEnough(state)) && done()))
      signal.addEventListener('abort', done, { once: true })
    })

  /** The record as soon as it satisfies `isEnough`, or as it is when the seconds are over. */
  const until = async (
    { id, read, seconds, signal }: Wait,
    isEnough: (state: LedgerState) => boolean
  ): Promise<FoundTask> => {
    if (seconds <= 0 || waiting >= maxWaiting) return read()
    const endMs = performance.now() + seconds * 1000
    const done = new AbortController()
    const abort = () => done.abort(over)
    signal.addEventListener('abort', abort, { once: true })
    waiting += 1
    try {
      for (;;) {
        const leftMs = endMs - performance.now()
        const nudged = nudge(id, Math.max(0, Math.min(lookMs, leftMs)), done.signal, isEnough)
        const current = await read()
        if (isEnough(current.state) || leftMs <= 0 || signal.aborted) return current
        await nudged
      }
    } finally {
      waiting -= 1
      signal.removeEventListener('abort', abort)
      done.abort(over)
    }
  }

  return {
    nudge,

    /** Until the state that callers see differs from the given record's, or the task has ended. */
    forChange: ({ state: before }: FoundTask, wait: Wait): Promise<FoundTask> =>
      until(wait, state => shownState(state) !== shownState(before) || isTerminal(state)),

    /** Until the task has ended. */
    forEnd: (wait: Wait): Promise<FoundTask> => until(wait, isTerminal)
  }
}
