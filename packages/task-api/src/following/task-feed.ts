import type { TaskEvent } from '@comfy-balancer/contract/event'
import { isTerminal } from '@comfy-balancer/domain/task-state'
import type { TaskApiDeps } from '../deps.ts'
import type { Waits } from '../waits.ts'

/** Who reads a feed. */
export type FeedReader = {
  /** Takes what changes a task's state; nothing of it is ever left out. */
  readonly take: (event: TaskEvent) => void
  /** Takes progress and previews; a reader that is behind may drop them. */
  readonly glance: (event: TaskEvent) => void
  /** Resolves when there is room for more; with false when this reader is not worth waiting for. */
  readonly room: (signal: AbortSignal) => Promise<boolean>
}

/** What to follow: a task's events after a version. `signal` ends it. */
export type Feed = {
  readonly task: string
  readonly after: number
  readonly previews: boolean
  readonly signal: AbortSignal
}

/** Whoever follows looks this often although no hint came; spread, so that thousands do not look at once. */
const lookMs = 15_000
const lookSpread = 0.4

/**
 * Gives a reader the journal of a task from where it left off, and progress in between, until the task has ended, the reader takes nothing
 * more or the signal aborts. Resolves with true when nothing more will come.
 */
export const follow = async (
  { task, after, previews, signal }: Feed,
  reader: FeedReader,
  { deps: { ledger, hints }, waits }: { readonly deps: TaskApiDeps; readonly waits: Waits }
): Promise<boolean> => {
  let version = after
  let latest: TaskEvent | undefined = (await ledger.tasks.journal(task, 0)).at(-1)
  const glance = (more: Pick<TaskEvent, 'type' | 'progress' | 'preview'>): void => {
    if (latest) reader.glance({ ...latest, at: new Date().toISOString(), ...more })
  }
  const done = new AbortController()
  const abort = () => done.abort()
  signal.addEventListener('abort', abort, { once: true })
  const stops = [abort, hints.onProgress(task, progress => glance({ type: 'task.progress', progress }))]
  if (previews) stops.push(hints.onPreview(task, preview => glance({ type: 'task.preview', preview })))
  try {
    for (let isOver = false; !signal.aborted; ) {
      const nudged = waits.nudge(task, lookMs * (1 - lookSpread * Math.random()), done.signal)
      const events = await ledger.tasks.journal(task, version)
      for (const event of events) {
        version = event.version
        latest = event
        reader.take(event)
      }
      if (isOver || events.some(event => isTerminal(event.state))) return true
      if (!(await reader.room(signal))) return false
      // The end may have come after the journal was read: it is read once more before nothing more is expected.
      if (events.length === 0) isOver = !(await isOngoing(ledger, task))
      if (!isOver) await nudged
    }
    return false
  } finally {
    signal.removeEventListener('abort', abort)
    for (const stop of stops) stop()
  }
}

/** False when the task has ended, or its record is gone. */
const isOngoing = async (ledger: TaskApiDeps['ledger'], task: string): Promise<boolean> => {
  const now = await ledger.tasks.find(task)
  return now !== undefined && !isTerminal(now.state)
}
