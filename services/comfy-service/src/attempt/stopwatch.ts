import type { PromptEvent } from '@comfy-balancer/comfyui/relay'
import type { Spent } from '@comfy-balancer/task-store/attempts'

export type Stopwatch = ReturnType<typeof createStopwatch>

const rounded = (ms: number): number => Math.round(ms) / 1000

/** Tells how long an attempt loaded models and how long it computed, from ComfyUI's own account of which graph node runs. */
export const createStopwatch = (loaders: ReadonlySet<string>, hadToLoad: boolean, now = () => performance.now()) => {
  let startedAtMs: number | undefined
  let endedAtMs: number | undefined
  let loadMs = 0
  let current: { graphNode: string; sinceMs: number } | undefined

  const leave = (): void => {
    if (current && loaders.has(current.graphNode)) loadMs += now() - current.sinceMs
    current = undefined
  }

  return {
    see(event: PromptEvent): void {
      if (event.type === 'started') startedAtMs ??= now()
      if (event.type !== 'executing') return
      leave()
      current = { graphNode: event.graphNode, sinceMs: now() }
    },

    stop(): void {
      leave()
      endedAtMs ??= now()
    },

    /** Seconds since ComfyUI started on it, 0 before that. */
    spent(): Spent {
      const totalMs = startedAtMs === undefined ? 0 : (endedAtMs ?? now()) - startedAtMs
      return {
        gpuSeconds: rounded(totalMs),
        loadSeconds: rounded(loadMs),
        executionSeconds: rounded(Math.max(0, totalMs - loadMs)),
        loaded: hadToLoad
      }
    }
  }
}
