import { ComfyUiError } from './errors.ts'
import type { ComfyUiEvent } from './messages.ts'
import type { HistoryEntry } from './wire.ts'

/**
 * What the observer learns about a followed prompt. `look` is what the queue said when it was asked at `askedAtMs`; `absent` also means
 * that history, asked afterwards, did not have it.
 */
export type Sighting =
  | { readonly kind: 'event'; readonly event: ComfyUiEvent }
  | {
      readonly kind: 'look'
      readonly place: 'running' | 'pending' | 'absent'
      readonly running: number
      readonly pending: number
      readonly askedAtMs: number
    }
  | { readonly kind: 'finished'; readonly entry: HistoryEntry }
  | { readonly kind: 'unreachable'; readonly refused: boolean; readonly detail: string }

/** ComfyUI came up, went down, or was restarted (its queue, history and caches are gone); others began or ceased to use it. */
export type ObserverChange = 'up' | 'down' | 'restarted' | 'shared' | 'unshared'

/** ComfyUI as last seen. `foreign`: prompts in its queue that are not ours; `restarts`: how often it was seen to restart. */
export type ObserverState = {
  readonly up: boolean
  readonly version: string | undefined
  readonly queueRemaining: number
  readonly foreign: number
  readonly restarts: number
}

/** What a failed call to ComfyUI tells about every prompt there. */
export const unreachable = (error: unknown) => ({
  kind: 'unreachable' as const,
  refused: error instanceof ComfyUiError && error.refused,
  detail: error instanceof Error ? error.message : String(error)
})
