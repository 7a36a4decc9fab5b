import { followTask } from '@comfy-balancer/contract/endpoints/following'
import { getTask } from '@comfy-balancer/contract/endpoints/tasks'
import type { TaskEvent } from '@comfy-balancer/contract/event'
import type { Task } from '@comfy-balancer/contract/task'
import { readEvents } from './event-stream.ts'
import { pause } from './pause.ts'
import { ProblemError } from './problem-error.ts'
import { isFinished } from './task-end.ts'
import type { Wire } from './wire.ts'

export type WatchOptions = {
  readonly signal?: AbortSignal
  /** Only what happened after this version of the task. */
  readonly after?: number
}

/** The server sends a comment every 15 s; three missed ones mean that the connection is dead. */
const silenceMs = 45_000
const firstDelayMs = 100
const maxFailures = 8
const streamTimeoutMs = 86_400_000

/**
 * Yields what happens to a task until it has ended. A broken stream is taken up again after the last event seen, so that no change of state is
 * missed (progress may be); throws when eight connections in a row brought nothing, and a ProblemError at once when the task is not there.
 */
export async function* watchTask(wire: Wire, id: string, options: WatchOptions = {}): AsyncGenerator<TaskEvent> {
  let last = options.after
  for (let failures = 0; ; failures++) {
    try {
      for await (const event of follow(wire, id, last, options.signal)) {
        failures = 0
        yield event
        if (event.type === 'task.progress') continue
        last = event.version
        if (isFinished(event.state)) return
      }
      if (failures > 0 && isFinished((await taskNow(wire, id, options.signal)).state)) return
    } catch (error) {
      options.signal?.throwIfAborted()
      if (isFinal(error) || failures >= maxFailures) throw error
    }
    if (failures >= maxFailures) throw new Error(`the events of ${id} ended ${maxFailures} times without a word`)
    await pause(firstDelayMs * 2 ** failures, options.signal)
  }
}

const isFinal = (error: unknown): boolean => error instanceof ProblemError && error.problem.status < 500

const follow = async function* (wire: Wire, id: string, after: number | undefined, signal: AbortSignal | undefined) {
  const response = await wire(followTask, {
    params: { id },
    headers: { accept: 'text/event-stream', ...(after === undefined ? {} : { 'last-event-id': String(after) }) },
    timeoutMs: streamTimeoutMs,
    ...(signal ? { signal } : {})
  })
  if (!response.body) return
  for await (const message of readEvents(response.body, { silenceMs })) yield JSON.parse(message.data) as TaskEvent
}

const taskNow = async (wire: Wire, id: string, signal: AbortSignal | undefined): Promise<Task> => {
  const response = await wire(getTask, { params: { id }, ...(signal ? { signal } : {}) })
  return (await response.json()) as Task
}
