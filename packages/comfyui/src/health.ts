import type { Log } from './log.ts'

/** ComfyUI came up, went down, or was restarted (its queue, history and caches are gone); others began or ceased to use it. */
export type HealthChange = 'up' | 'down' | 'restarted' | 'shared' | 'unshared'

/** ComfyUI as last seen. `foreign`: prompts in its queue that are not ours; `restarts`: how often it was seen to restart. */
export type HealthState = {
  readonly up: boolean
  readonly version: string | undefined
  readonly queueRemaining: number
  readonly foreign: number
  readonly restarts: number
}

const failuresUntilDown = 2

/** How one ComfyUI fares, by what came of asking it; tells each change. */
export class Health {
  readonly #log: Log
  readonly #listeners = new Set<(change: HealthChange) => void>()
  #failures = 0
  #wasRefused = false
  #hasBeenUp = false
  #lastNumber: { number: number; atMs: number } | undefined
  #state: HealthState = { up: false, version: undefined, queueRemaining: 0, foreign: 0, restarts: 0 }

  constructor(log: Log) {
    this.#log = log
  }

  /** ComfyUI as last seen. */
  state(): HealthState {
    return this.#state
  }

  /** Calls `listener` with each change from now on; the returned function ends that. */
  on(listener: (change: HealthChange) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Whether it did not answer when it was last asked. */
  isFailing(): boolean {
    return this.#failures > 0
  }

  /** Whether another ComfyUI than the one whose version is known may answer. */
  mayBeOther(): boolean {
    return !this.#state.up || this.#wasRefused || this.#state.version === undefined
  }

  /** It told what its queue holds. */
  answered(seen: Pick<HealthState, 'version' | 'queueRemaining' | 'foreign'>): void {
    const { up: wasUp, foreign } = this.#state
    const wasShared = foreign > 0
    this.#failures = 0
    this.#state = { ...this.#state, ...seen, up: true }
    if (this.#wasRefused && this.#hasBeenUp) this.#restarted()
    this.#wasRefused = false
    this.#hasBeenUp = true
    if (!wasUp) this.#emit('up')
    if (wasShared !== seen.foreign > 0) this.#emit(wasShared ? 'unshared' : 'shared')
  }

  /** It gave no answer, or refused the connection. */
  failed(refused: boolean): void {
    this.#failures++
    this.#wasRefused ||= refused
    if (!this.#state.up || this.#failures < failuresUntilDown) return
    this.#state = { ...this.#state, up: false }
    this.#emit('down')
  }

  /**
   * It gave this number to what was posted at `postedAtMs` (of `performance.now()`). ComfyUI counts its prompts from 0, and we never choose a
   * number, so a smaller one means that it began anew.
   */
  numbered(postedAtMs: number, number: number | undefined): void {
    if (number === undefined) return
    const last = this.#lastNumber
    if (last && number < last.number && last.atMs <= postedAtMs) this.#restarted()
    this.#lastNumber = { number, atMs: performance.now() }
  }

  #restarted(): void {
    this.#lastNumber = undefined
    this.#state = { ...this.#state, restarts: this.#state.restarts + 1 }
    this.#log.warn({}, 'comfyui restarted')
    this.#emit('restarted')
  }

  #emit(change: HealthChange): void {
    for (const listener of this.#listeners) {
      try {
        listener(change)
      } catch (err) {
        this.#log.warn({ err }, 'observer listener failed')
      }
    }
  }
}
