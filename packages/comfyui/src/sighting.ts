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

/** What a failed call to ComfyUI tells about every prompt there. */
export const unreachable = (error: unknown) => ({
  kind: 'unreachable' as const,
  refused: error instanceof ComfyUiError && error.refused,
  detail: error instanceof Error ? error.message : String(error)
})
