import type { Log } from './log.ts'

/** A running background loop. */
export type Loop = {
  /** Runs again at once; during a run, exactly once more after it. */
  wake(): void
  /** Aborts the run in hand, and resolves when it has ended or its deadline has passed. */
  stop(): Promise<void>
}

/** What a background loop does and how often. */
export type EveryOptions = {
  readonly name: string
  /** Pause between the end of a run and the start of the next. */
  readonly intervalMs: number
  /** Share of the pause, 0 to 1, by which it varies to either side. */
  readonly jitter?: number
  /** When a run's signal aborts. Default 30 s. A run that goes on regardless is named in the log; no second one starts beside it. */
  readonly deadlineMs?: number
  /** Stops the loop when aborted. */
  readonly signal?: AbortSignal
  readonly log: Log
  readonly run: (signal: AbortSignal) => Promise<void>
  readonly random?: () => number
}

const defaultDeadlineMs = 30_000
const repeatLogMs = 30_000

/** Starts the one shape of every background loop: one run at a time, the first at once; a throwing run is logged and runs again. */
export const every = (options: EveryOptions): Loop => {
  const loop = new EveryLoop(options)
  loop.start()
  return { wake: () => loop.wake(), stop: () => loop.stop() }
}

class EveryLoop {
  readonly #options: EveryOptions
  readonly #abortStop = () => void this.stop()
  #timer: NodeJS.Timeout | undefined
  #immediate: NodeJS.Immediate | undefined
  #running: Promise<void> | undefined
  #abort: AbortController | undefined
  #wanted = false
  #stopped = false
  #failures = 0
  #loggedAtMs = 0
  #loggedMessage = ''

  constructor(options: EveryOptions) {
    this.#options = options
  }

  start(): void {
    this.#options.signal?.addEventListener('abort', this.#abortStop, { once: true })
    if (this.#options.signal?.aborted) this.#stopped = true
    this.#schedule(0)
  }

  wake(): void {
    this.#wanted = true
    if (this.#running === undefined) this.#schedule(0)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    clearImmediate(this.#immediate)
    this.#options.signal?.removeEventListener('abort', this.#abortStop)
    this.#abort?.abort(new Error(`${this.#options.name} is stopping`))
    if (this.#running === undefined) return
    await withinMs(this.#running, this.#options.deadlineMs ?? defaultDeadlineMs)
  }

  /** At once means before the next timer: a timer of 0 ms costs more than one. */
  #schedule(delayMs: number): void {
    clearTimeout(this.#timer)
    clearImmediate(this.#immediate)
    if (this.#stopped) return
    if (delayMs === 0) this.#immediate = setImmediate(() => this.#begin())
    else this.#timer = setTimeout(() => this.#begin(), delayMs)
  }

  #begin(): void {
    this.#wanted = false
    this.#running = this.#runOnce().finally(() => {
      this.#running = undefined
      this.#schedule(this.#wanted ? 0 : this.#pauseMs())
    })
  }

  #pauseMs(): number {
    const { intervalMs, jitter = 0, random = Math.random } = this.#options
    return intervalMs * (1 + jitter * (2 * random() - 1))
  }

  async #runOnce(): Promise<void> {
    const { name, log, run, deadlineMs = defaultDeadlineMs } = this.#options
    const abort = new AbortController()
    this.#abort = abort
    const deadline = setTimeout(() => {
      abort.abort(new Error(`${name} ran longer than ${deadlineMs} ms`))
      log.warn({ loop: name, deadlineMs }, 'loop run is past its deadline')
    }, deadlineMs)
    try {
      await run(abort.signal)
      this.#succeeded()
    } catch (err) {
      if (!this.#stopped) this.#failed(err)
    } finally {
      clearTimeout(deadline)
      this.#abort = undefined
    }
  }

  #succeeded(): void {
    const { name, log } = this.#options
    if (this.#failures > 0) log.info({ loop: name, failures: this.#failures }, 'loop runs again')
    this.#failures = 0
    this.#loggedMessage = ''
  }

  #failed(err: unknown): void {
    this.#failures++
    const message = err instanceof Error ? err.message : String(err)
    const nowMs = performance.now()
    if (message === this.#loggedMessage && nowMs - this.#loggedAtMs < repeatLogMs) return
    this.#loggedMessage = message
    this.#loggedAtMs = nowMs
    const { name, log } = this.#options
    log.error({ loop: name, failures: this.#failures, err }, 'loop run failed')
  }
}

const withinMs = async (work: Promise<void>, limitMs: number): Promise<void> => {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<void>(resolve => {
    timer = setTimeout(resolve, limitMs)
  })
  await Promise.race([work, limit])
  clearTimeout(timer)
}
