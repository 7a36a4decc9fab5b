import type { Process, StartOptions } from '@comfy-balancer/local/processes'
import { ending, startProcess } from '@comfy-balancer/local/processes'
import { until } from '@comfy-balancer/local/until'
import type { Link } from './link.ts'

/** One life of a program, in wall-clock ms; `how` says what ended it. */
export type Life = {
  readonly program: string
  readonly startedMs: number
  readonly readyMs: number
  endedMs: number | undefined
  how: string | undefined
}

export type ProgramOptions = {
  readonly name: string
  /** What to start for the n-th life, from 1. */
  readonly start: (life: number) => Omit<StartOptions<string>, 'name'>
  /** The links that lead to it: they refuse connections while it is down. */
  readonly links: readonly Link[]
  /** Called when it is ready, each time. */
  readonly whenUp?: () => Promise<void>
}

const restartMs = 300
const startWithinMs = 60_000

/** A program that the rig kills, freezes and starts again: its supervisor. */
export class Program {
  readonly name: string
  readonly lives: Life[] = []
  readonly #options: ProgramOptions
  #process: Process | undefined
  #isFrozen = false
  #isWanted = false
  #restartMs = restartMs
  #starting: Promise<void> | undefined

  constructor(options: ProgramOptions) {
    this.name = options.name
    this.#options = options
  }

  get isUp(): boolean {
    return this.#process?.isRunning() === true
  }

  get isFrozen(): boolean {
    return this.#isFrozen
  }

  /** Starts it and keeps it alive from now on. Throws when it does not get ready. */
  async start(): Promise<void> {
    this.#isWanted = true
    this.#starting ??= this.#launch().finally(() => {
      this.#starting = undefined
    })
    return this.#starting
  }

  /** kill -9, at once; it is started again after `downMs`. Resolves when it is back, with false when it was down already. */
  async kill(downMs = restartMs): Promise<boolean> {
    const killed = this.#process
    if (!killed?.isRunning()) return false
    this.#restartMs = downMs
    killed.kill('SIGKILL')
    await killed.exited
    await this.untilUp(downMs + startWithinMs)
    return true
  }

  /** SIGTERM, as in a rolling restart; resolves when it is back, with false when it could not be asked. */
  async replace(graceMs: number): Promise<boolean> {
    if (!this.isUp || this.#isFrozen) return false
    this.#restartMs = 0
    await this.#process?.stop(graceMs)
    await this.untilUp(startWithinMs)
    return true
  }

  freeze(): boolean {
    if (!this.isUp || this.#isFrozen) return false
    this.#process?.kill('SIGSTOP')
    this.#isFrozen = true
    return true
  }

  thaw(): void {
    if (!this.#isFrozen) return
    this.#isFrozen = false
    this.#process?.kill('SIGCONT')
  }

  /** Waits until it is up; false when it is not within `withinMs`. */
  async untilUp(withinMs: number): Promise<boolean> {
    return (await until(() => (this.isUp && this.#starting === undefined ? true : undefined), withinMs)) === true
  }

  /** Ends it for good. */
  async end(graceMs: number): Promise<void> {
    this.#isWanted = false
    await this.#starting?.catch(() => undefined)
    this.thaw()
    await this.#process?.stop(graceMs)
  }

  async #launch(): Promise<void> {
    const startedMs = Date.now()
    const options = this.#options.start(this.lives.length + 1)
    const started = await startProcess<string>({ readyWithinMs: startWithinMs, ...options, name: this.name })
    const life: Life = { program: this.name, startedMs, readyMs: Date.now(), endedMs: undefined, how: undefined }
    this.#process = started
    this.lives.push(life)
    void started.exited.then(exit => this.#ended(life, ending(exit)))
    await Promise.all(this.#options.links.map(link => link.open()))
    await this.#options.whenUp?.()
  }

  #ended(life: Life, how: string): void {
    life.endedMs = Date.now()
    life.how = how
    this.#isFrozen = false
    for (const link of this.#options.links) link.close()
    const waitMs = this.#restartMs
    this.#restartMs = restartMs
    setTimeout(() => this.#revive(), waitMs)
  }

  /** A start that fails is tried again: Redis may be away just then. */
  #revive(): void {
    if (!this.#isWanted) return
    this.start().catch(() => setTimeout(() => this.#revive(), restartMs))
  }
}
