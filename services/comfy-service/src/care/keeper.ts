import { randomUUID } from 'node:crypto'
import type { CareState, ComfyUiCare } from '@comfy-balancer/contract/node'
import { every, type Loop } from '@comfy-balancer/service-kit/every'
import type { ComfyUiFolders } from '../comfyui-folders.ts'
import type { Residency } from '../residency.ts'
import { restartDelayMs } from './back-off.ts'
import type { CareTally, RestartReason } from './care-tally.ts'
import { type ComfyUiCommand, type ComfyUiProcess, type Moment, startComfyUi } from './comfyui-process.ts'
import type { MemoryCare } from './memory-care.ts'
import { endOrphans } from './orphans.ts'
import type { Owned } from './process-mark.ts'
import { runWarmUp, type WarmUp, type WarmUpDeps } from './warm-up.ts'

export type KeeperOptions = Owned & {
  /** Without it, somebody else starts and stops ComfyUI. */
  readonly command: ComfyUiCommand | undefined
  readonly warmUp: WarmUp | undefined
  /** How long ComfyUI may take until it answers, how long it is given to end, and how long it may be silent without any attempt in hand. */
  readonly startMs: number
  readonly stopMs: number
  readonly silentMs: number
}

export type KeeperDeps = WarmUpDeps & {
  readonly residency: Residency
  readonly folders: ComfyUiFolders | undefined
  readonly memory: MemoryCare
  readonly tally: CareTally
}

/** What the keeper must know of the node, and whom it tells that something changed. */
export type KeptNode = {
  readonly isBusy: () => boolean
  readonly moment: () => Moment | undefined
  readonly changed: () => void
}

const lookMs = 250
const answerMs = 2_000
/** A ComfyUI that did well for so long is not failing in a row any more. */
const wellMs = 60_000
const foreignMs = 5_000

const reasons: Readonly<Record<RestartReason, string>> = {
  died: 'it ended by itself',
  'dead-worker': 'it had work and ran none of it',
  stuck: 'it did not let go of a prompt',
  unresponsive: 'it did not answer any more',
  'warm-up': 'it broke its warm-up off',
  memory: 'too much memory stayed in use',
  request: 'an operator asked for it',
  start: 'it did not answer in time after its start'
}

/** Failures wait longer and longer; what somebody or we ourselves decided happens at once. */
const isFailure = (reason: RestartReason): boolean => reason !== 'request' && reason !== 'memory'

/**
 * Keeps this node's ComfyUI well: starts it, warms it up, restarts it when it has to be, and stops it in the end. Of a ComfyUI that is
 * somebody else's it does what is left: the warm-up and its memory.
 */
export class Keeper {
  readonly #options: KeeperOptions
  readonly #deps: KeeperDeps
  #node: KeptNode = { isBusy: () => false, moment: () => undefined, changed: () => {} }
  #loop: Loop | undefined
  #process: ComfyUiProcess | undefined
  #state: CareState = 'starting'
  #reason: string | undefined
  #sinceMs = performance.now()
  #upAtMs = 0
  #startAtMs = 0
  #failures = 0
  #restarts = 0
  #hasStarted = false
  #wanted: RestartReason | undefined
  #wish: string | undefined
  #fulfilled: string | undefined
  #warmUpPrompt: string | undefined
  #isForeignSaid = false
  #isLeaving = false

  constructor(options: KeeperOptions, deps: KeeperDeps) {
    this.#options = options
    this.#deps = deps
    if (!options.command && !options.warmUp) this.#state = 'well'
    deps.comfyui.observer.on(change => {
      const isSettled = this.#state === 'well' || this.#state === 'failed'
      if (change === 'restarted' && isSettled && options.warmUp) this.#enter('starting')
      this.#loop?.wake()
    })
  }

  /** Whether this node can restart its ComfyUI. */
  get isOwner(): boolean {
    return this.#options.command !== undefined
  }

  /** Whether ComfyUI may be given tasks, as far as its care goes; whether it answers is another matter. */
  isWell(): boolean {
    return this.#state === 'well' && this.#wanted === undefined
  }

  /** For the heartbeat; nothing where there is nothing to take care of. */
  care(): ComfyUiCare | undefined {
    if (!this.isOwner && !this.#options.warmUp) return undefined
    const [state, reason] = this.#wanted ? (['stopping', reasons[this.#wanted]] as const) : [this.#state, this.#reason]
    return { owned: this.isOwner, state, reason: reason ?? null, restarts: this.#restarts }
  }

  /** The prompt that warms ComfyUI up now: nobody's leftover. */
  warmUpPrompt(): string | undefined {
    return this.#warmUpPrompt
  }

  /** Restarts ComfyUI as soon as no attempt is in hand. The first reason counts. */
  restart(reason: RestartReason): void {
    if (!this.isOwner || this.#isLeaving) return
    this.#wanted ??= reason
    this.#loop?.wake()
  }

  /** Fulfils an operator's wish to restart ComfyUI, once. True when it has been fulfilled: ComfyUI is back and well. */
  fulfil(wish: string): boolean {
    if (this.#fulfilled === wish) return true
    if (this.#wish !== wish) {
      this.#wish = wish
      this.restart('request')
    }
    return false
  }

  start(node: KeptNode): void {
    this.#node = node
    const { startMs, stopMs, warmUp } = this.#options
    const deadlineMs = startMs + 2 * stopMs + (warmUp ? warmUp.timeoutMs + warmUp.cancelMs : 0) + 60_000
    const run = (signal: AbortSignal) => this.#look(signal)
    this.#loop = every({ name: 'comfyui keeper', intervalMs: lookMs, deadlineMs, log: this.#deps.log, run })
  }

  /** From now on ComfyUI is not started any more. */
  leave(): void {
    this.#isLeaving = true
    this.#wanted = undefined
  }

  /** Stops the loop, then a ComfyUI of its own. */
  async stop(): Promise<void> {
    this.leave()
    void this.#loop?.stop()
    await this.#process?.stop(this.#options.stopMs)
  }

  async #look(signal: AbortSignal): Promise<void> {
    if (this.#isLeaving) return
    if (this.#options.command) {
      const ending = this.#process?.ending()
      if (ending !== undefined) this.#gone('died', ending)
      if (!this.#process) return performance.now() < this.#startAtMs ? undefined : this.#begin(this.#options.command)
      if (this.#wanted) return this.#node.isBusy() ? undefined : this.#end(this.#wanted)
    }
    if (this.#state === 'starting') await this.#awaitAnswer()
    if (this.#state === 'warming-up') await this.#warmUp(signal)
    if (this.#state === 'well') await this.#lookAfter()
  }

  async #begin(command: ComfyUiCommand): Promise<void> {
    const { comfyui, log } = this.#deps
    const { node, url, stopMs } = this.#options
    const orphans = await endOrphans({ node, url }, stopMs)
    if (orphans > 0) log.warn({ orphans }, 'comfyui that a killed comfy-service left behind ended')
    if (await this.#answers()) return this.#foreign()
    if (this.#isLeaving) return
    this.#isForeignSaid = false
    this.#process = startComfyUi(command, { node, url }, { log, moment: () => this.#node.moment() })
    void this.#process.ended.then(() => this.#loop?.wake())
    if (this.#hasStarted) this.#restarts++
    this.#hasStarted = true
    comfyui.distrustCatalog()
    this.#enter('starting')
    log.info({ pid: this.#process.pid, restarts: this.#restarts }, 'comfyui started')
  }

  #foreign(): void {
    this.#startAtMs = performance.now() + foreignMs
    this.#reason = 'another ComfyUI, which this comfy-service did not start, answers at COMFYUI_URL'
    if (!this.#isForeignSaid)
      this.#deps.log.error({ errorSource: 'ours', reason: this.#reason }, 'comfyui cannot be started')
    this.#isForeignSaid = true
  }

  async #end(reason: RestartReason): Promise<void> {
    this.#deps.log.info({ reason }, 'comfyui is being stopped')
    await this.#process?.stop(this.#options.stopMs)
    this.#gone(reason, reasons[reason])
  }

  /** The process is no more. It is started again unless this service leaves. */
  #gone(reason: RestartReason, words: string): void {
    const { residency, log, tally } = this.#deps
    const why = this.#wanted ?? reason
    this.#process = undefined
    this.#wanted = undefined
    residency.clear()
    if (this.#state === 'well' && performance.now() - this.#sinceMs > wellMs) this.#failures = 0
    if (isFailure(why)) this.#failures++
    const delayMs = isFailure(why) ? restartDelayMs(this.#failures) : 0
    this.#startAtMs = performance.now() + delayMs
    this.#enter('starting', words)
    tally.restarted(why)
    log[isFailure(why) ? 'error' : 'info'](
      { errorSource: 'comfyui', reason: why, detail: words, failures: this.#failures, delayMs },
      'comfyui is restarted'
    )
  }

  async #awaitAnswer(): Promise<void> {
    const { comfyui, log } = this.#deps
    const isThere = (await this.#answers()) && comfyui.observer.state().up && comfyui.isCatalogFresh()
    if (!isThere) {
      if (this.isOwner && performance.now() - this.#sinceMs > this.#options.startMs) this.restart('start')
      return
    }
    const isAtWork = !this.isOwner && comfyui.observer.state().queueRemaining > 0
    log.info({ durationMs: Math.round(performance.now() - this.#sinceMs) }, 'comfyui answers')
    if (this.#options.warmUp && !isAtWork) this.#enter('warming-up')
    else this.#becomeWell()
  }

  async #answers(): Promise<boolean> {
    return this.#deps.comfyui.http.systemStats({ timeoutMs: answerMs }).then(
      () => true,
      () => false
    )
  }

  async #warmUp(signal: AbortSignal): Promise<void> {
    const { log } = this.#deps
    const { warmUp } = this.#options
    if (!warmUp) return this.#becomeWell()
    if (this.#node.isBusy()) return
    const startedMs = performance.now()
    this.#warmUpPrompt = randomUUID()
    const failure = await runWarmUp(warmUp, this.#warmUpPrompt, this.#deps, signal)
    this.#warmUpPrompt = undefined
    const durationMs = Math.round(performance.now() - startedMs)
    if (this.#state !== 'warming-up' || this.#process?.ending() !== undefined || this.#isLeaving) return
    if (failure === undefined) {
      log.info({ durationMs }, 'comfyui is warmed up')
      return this.#becomeWell()
    }
    const reason = `the warm-up workflow failed: ${failure.reason}`
    if (failure.isPassing) {
      log.warn({ errorSource: 'comfyui', reason, durationMs }, 'comfyui broke the warm-up off: it is tried again')
      this.#enter('starting', reason)
      return this.restart('warm-up')
    }
    log.error({ errorSource: 'comfyui', reason, durationMs }, 'comfyui not warmed up: it is given no tasks')
    this.#enter('failed', reason)
  }

  #becomeWell(): void {
    if (!this.#wanted) this.#fulfilled = this.#wish
    this.#enter('well')
  }

  async #lookAfter(): Promise<void> {
    const { comfyui, memory } = this.#deps
    const { up, queueRemaining } = comfyui.observer.state()
    const nowMs = performance.now()
    if (up) this.#upAtMs = nowMs
    else if (nowMs - Math.max(this.#upAtMs, this.#sinceMs) > this.#options.silentMs) this.restart('unresponsive')
    if (nowMs - this.#sinceMs > wellMs) this.#failures = 0
    if (!up) return
    if (await memory.look(!this.#node.isBusy() && queueRemaining === 0, nowMs)) this.restart('memory')
  }

  #enter(state: CareState, reason?: string): void {
    this.#state = state
    this.#reason = reason
    this.#sinceMs = performance.now()
    this.#node.changed()
  }
}
