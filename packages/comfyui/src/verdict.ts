import { isOutOfMemory, type Rejection, withoutHostPaths } from './errors.ts'
import { stringOf, type Unchecked } from './record.ts'
import type { HistoryEntry } from './wire.ts'

/** An image that came only over the WebSocket (SaveImageWebsocket and its like). */
export type WebsocketImage = { readonly graphNode: string; readonly mediaType: string; readonly bytes: Buffer }

/**
 * Why a prompt is gone without an end. `died`: nothing listens any more; `restart`: ComfyUI is back and does not know it; `vanished`:
 * neither queue nor history has it; `unreachable`: no answer for too long, or none listened when it was posted; `not-accepted`: the
 * POST failed and ComfyUI does not know it.
 */
export type LostReason = 'died' | 'restart' | 'vanished' | 'unreachable' | 'not-accepted'

/**
 * What became of a prompt. After `stuck`, `timed-out` and `abandoned` ComfyUI may still run it: cancel it. `graphNode` is an id of
 * the workflow or one that a node made at run time.
 */
export type Verdict =
  | {
      readonly kind: 'succeeded'
      readonly entry: HistoryEntry
      readonly websocketImages: readonly WebsocketImage[]
    }
  | ({ readonly kind: 'rejected'; readonly placement: boolean } & Rejection)
  | {
      readonly kind: 'execution-error'
      readonly graphNode: string | undefined
      readonly classType: string | undefined
      readonly exceptionType: string
      readonly message: string
      readonly outOfMemory: boolean
    }
  | { readonly kind: 'interrupted' }
  | { readonly kind: 'lost'; readonly reason: LostReason; readonly detail: string }
  | { readonly kind: 'stuck'; readonly reason: 'dead-worker' | 'silent'; readonly detail: string }
  | { readonly kind: 'timed-out' }
  | { readonly kind: 'abandoned' }

const maxMessageLength = 2000

const executionError = (data: Unchecked): Verdict => {
  const exceptionType = stringOf(data.exception_type) ?? 'Error'
  const message = stringOf(data.exception_message)?.trim() ?? 'ComfyUI recorded no message'
  return {
    kind: 'execution-error',
    graphNode: stringOf(data.node_id),
    classType: stringOf(data.node_type),
    exceptionType,
    message: withoutHostPaths(message).slice(0, maxMessageLength),
    outOfMemory: isOutOfMemory(exceptionType, message)
  }
}

const endings = ['execution_success', 'execution_error', 'execution_interrupted']

/**
 * The verdict of a history entry: the last message that ends a run decides, since an error need not be the end, an interrupt is
 * filed as an error, and a cycle at run time as a success. Only without such a message ComfyUI's own status counts.
 */
export const verdictOf = (entry: HistoryEntry, websocketImages: readonly WebsocketImage[] = []): Verdict => {
  const last = entry.messages.findLast(({ event }) => endings.includes(event))
  if (last?.event === 'execution_interrupted') return { kind: 'interrupted' }
  if (last?.event === 'execution_success' || (!last && entry.statusText === 'success')) {
    return { kind: 'succeeded', entry, websocketImages }
  }
  return executionError(last?.data ?? {})
}
