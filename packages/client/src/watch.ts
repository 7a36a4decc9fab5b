import { followGroup, followTask } from '@comfy-balancer/contract/endpoints/following'
import { getGroup } from '@comfy-balancer/contract/endpoints/groups'
import { getTask } from '@comfy-balancer/contract/endpoints/tasks'
import type { TaskEvent } from '@comfy-balancer/contract/event'
import type { Group } from '@comfy-balancer/contract/group'
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
export const watchTask = (wire: Wire, id: string, { after, signal }: WatchOptions = {}): AsyncGenerator<TaskEvent> =>
  resumed({
    what: id,
    follow: last => follow(wire, followTask, id, last, signal),
    after: after === undefined ? undefined : String(after),
    isLast: event => event.type !== 'task.progress' && isFinished(event.state),
    hasEnded: async () => isFinished((await read<Task>(wire, getTask, id, signal)).state),
    signal
  })

/** Yields what happens to all tasks of a group until the last of them has ended, as `watchTask` does for one. */
export const watchGroup = (wire: Wire, id: string, { signal }: Pick<WatchOptions, 'signal'> = {}) =>
  resumed({
    what: id,
    follow: last => follow(wire, followGroup, id, last, signal),
    after: undefined,
    isLast: () => false,
    hasEnded: async () => (await read<Group>(wire, getGroup, id, signal)).finishedAt !== null,
    signal
  })

type Message = { readonly id: string | undefined; readonly event: TaskEvent }

type Watched = {
  readonly what: string
  readonly follow: (last: string | undefined) => AsyncGenerator<Message>
  readonly after: string | undefined
  /** Whether nothing can come after this event. */
  readonly isLast: (event: TaskEvent) => boolean
  readonly hasEnded: () => Promise<boolean>
  readonly signal: AbortSignal | undefined
}

async function* resumed({ what, follow, after, isLast, hasEnded, signal }: Watched): AsyncGenerator<TaskEvent> {
  let last = after
  for (let failures = 0; ; failures++) {
    try {
      for await (const { id, event } of follow(last)) {
        failures = 0
        last = id ?? last
        yield event
        if (isLast(event)) return
      }
      if (await hasEnded()) return
    } catch (error) {
      signal?.throwIfAborted()
      if (isFinal(error) || failures >= maxFailures) throw error
    }
    if (failures >= maxFailures) throw new Error(`the events of ${what} ended ${maxFailures} times without a word`)
    await pause(firstDelayMs * 2 ** failures, signal)
  }
}

const isFinal = (error: unknown): boolean => error instanceof ProblemError && error.problem.status < 500

const follow = async function* (
  wire: Wire,
  endpoint: typeof followTask | typeof followGroup,
  id: string,
  last: string | undefined,
  signal: AbortSignal | undefined
): AsyncGenerator<Message> {
  const response = await wire(endpoint, {
    params: { id },
    headers: { accept: 'text/event-stream', ...(last === undefined ? {} : { 'last-event-id': last }) },
    timeoutMs: streamTimeoutMs,
    ...(signal ? { signal } : {})
  })
  if (!response.body) return
  for await (const message of readEvents(response.body, { silenceMs }))
    yield { id: message.id, event: JSON.parse(message.data) as TaskEvent }
}

const read = async <T>(
  wire: Wire,
  endpoint: typeof getTask | typeof getGroup,
  id: string,
  signal: AbortSignal | undefined
): Promise<T> => {
  const response = await wire(endpoint, { params: { id }, ...(signal ? { signal } : {}) })
  return (await response.json()) as T
}
