import { Health, type HealthChange, type HealthState } from './health.ts'
import type { ComfyUiHttp } from './http.ts'
import type { Log } from './log.ts'
import type { ComfyUiEvent } from './messages.ts'
import { type Sighting, unreachable } from './sighting.ts'
import { ComfyUiSocket, type SocketOptions } from './socket.ts'
import type { Queue } from './wire.ts'

/** Times in ms. `quietMs`: how often to look while a followed prompt's socket is quiet; `livelyMs`: while it tells; `idleMs`: else. */
export type ObserverOptions = SocketOptions & {
  readonly quietMs?: number
  readonly livelyMs?: number
  readonly idleMs?: number
}

/** A prompt that is being followed. */
export type Following = {
  /** ComfyUI accepted what was posted at `postedAtMs` (of `performance.now()`) and gave it this number. */
  accepted(postedAtMs: number, number: number | undefined): void
  /** Look often: something is about to change. */
  hurry(): void
  stop(): void
}

type Follower = {
  readonly see: (sighting: Sighting) => void
  isUrgent: boolean
  eventAtMs: number
  isChecking: boolean
}

type Seen = { listed: boolean; atMs: number }

const urgentMs = 200
const downMs = 300
const minGapMs = 50
/** A change of the queue's length alone is no reason to look at once, unless somebody else's prompts are gone: the followed prompt's own events say more. */
const statusGapMs = 250
const maxOwned = 1000

/**
 * Watches one ComfyUI for all prompts at once: one WebSocket for hints, and its queue and history for the truth, asked as often as the
 * state of things calls for.
 */
export class Observer {
  readonly #http: ComfyUiHttp
  readonly #log: Log
  readonly #socket: ComfyUiSocket
  readonly #health: Health
  readonly #intervals: { quietMs: number; livelyMs: number; idleMs: number }
  readonly #followers = new Map<string, Follower>()
  readonly #seen = new Map<string, Seen>()
  readonly #owned = new Set<string>()
  readonly #stopped = new AbortController()
  readonly #looping: Promise<void>
  #wake: (gapMs: number) => void = () => {}
  #wokenGapMs: number | undefined

  constructor(options: ObserverOptions, deps: { http: ComfyUiHttp; log: Log }) {
    this.#http = deps.http
    this.#log = deps.log
    this.#health = new Health(deps.log)
    this.#intervals = {
      quietMs: options.quietMs ?? 1000,
      livelyMs: options.livelyMs ?? 2500,
      idleMs: options.idleMs ?? 5000
    }
    const onEvent = (event: ComfyUiEvent) => this.#receive(event)
    this.#socket = new ComfyUiSocket(options, { log: deps.log, onEvent, onClose: () => this.#look() })
    this.#looping = this.#loop()
  }

  /** The client id to post the next prompt under; it changes when the connection was lost. */
  get clientId(): string {
    return this.#socket.clientId
  }

  /** Whether events arrive now. */
  get isHearing(): boolean {
    return this.#socket.isUp
  }

  /** ComfyUI as last seen. */
  state(): HealthState {
    return this.#health.state()
  }

  /** Whether ComfyUI listed the prompt when it was last asked, and how long ago that was; undefined before the first answer. */
  listed(promptId: string): { listed: boolean; ageMs: number } | undefined {
    const seen = this.#seen.get(promptId)
    return seen && { listed: seen.listed, ageMs: performance.now() - seen.atMs }
  }

  /** Calls `listener` with each change from now on; the returned function ends that. */
  on(listener: (change: HealthChange) => void): () => void {
    return this.#health.on(listener)
  }

  /** Resolves when events can arrive, or after `timeoutMs`: a prompt can be followed without them. */
  ready(timeoutMs: number): Promise<void> {
    return this.#socket.ready(timeoutMs)
  }

  /** Reports all that is learned about a prompt to `see`, from now on; call it before posting. `see` must not block. */
  follow(promptId: string, see: (sighting: Sighting) => void): Following {
    const follower: Follower = { see, isUrgent: false, eventAtMs: 0, isChecking: false }
    this.#followers.set(promptId, follower)
    this.#own(promptId)
    return {
      accepted: (postedAtMs, number) => {
        this.#seen.set(promptId, { listed: true, atMs: performance.now() })
        this.#socket.expectStatus(postedAtMs)
        this.#health.numbered(postedAtMs, number)
        this.#look()
      },
      hurry: () => {
        if (!follower.isUrgent) this.#look()
        follower.isUrgent = true
      },
      stop: () => {
        if (this.#followers.get(promptId) === follower) this.#followers.delete(promptId)
        this.#seen.delete(promptId)
      }
    }
  }

  /** Ends the loop and the connection. The HTTP side stays the caller's. */
  async close(): Promise<void> {
    this.#stopped.abort()
    this.#wake(0)
    await Promise.all([this.#socket.close(), this.#looping])
  }

  #own(promptId: string): void {
    this.#owned.add(promptId)
    if (this.#owned.size > maxOwned) this.#owned.delete(this.#owned.values().next().value!)
  }

  #look(gapMs = minGapMs): void {
    this.#wokenGapMs = Math.min(gapMs, this.#wokenGapMs ?? gapMs)
    this.#wake(gapMs)
  }

  #receive(event: ComfyUiEvent): void {
    if (event.type === 'status') {
      if (event.first) this.#subscribeLogs()
      const { foreign } = this.#health.state()
      const isEmpty = event.queueRemaining === 0
      if (this.#followers.size > 0 || !isEmpty || foreign > 0)
        this.#look(isEmpty && foreign > 0 ? minGapMs : statusGapMs)
      return
    }
    const promptId = event.promptId ?? (this.#followers.size === 1 ? [...this.#followers.keys()][0] : undefined)
    const follower = promptId === undefined ? undefined : this.#followers.get(promptId)
    if (follower === undefined || promptId === undefined) return
    follower.eventAtMs = performance.now()
    follower.see({ kind: 'event', event })
    if (event.type === 'ended' || event.type === 'ending') {
      follower.isUrgent = true
      void this.#check(promptId, follower)
      this.#look()
    }
  }

  #subscribeLogs(): void {
    this.#http
      .subscribeLogs(this.#socket.clientId, { signal: this.#stopped.signal })
      .catch(err => this.#log.debug({ err }, 'comfyui does not tell its log'))
  }

  /** Asks history about one prompt at once: a cached one is over milliseconds after it was posted. */
  async #check(promptId: string, follower: Follower): Promise<void> {
    if (follower.isChecking) return
    follower.isChecking = true
    try {
      const entry = await this.#http.history(promptId, { signal: this.#stopped.signal })
      if (entry) this.#tell(promptId, follower, { kind: 'finished', entry })
    } catch (err) {
      this.#log.debug({ err, promptId }, 'comfyui history not read')
    } finally {
      follower.isChecking = false
    }
  }

  #tell(promptId: string, follower: Follower, sighting: Sighting): void {
    if (this.#followers.get(promptId) === follower) follower.see(sighting)
  }

  async #loop(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      this.#wokenGapMs = undefined
      try {
        await this.#lookOnce()
      } catch (error) {
        if (this.#stopped.signal.aborted) return
        this.#failed(error)
      }
      await this.#pause()
    }
  }

  async #pause(): Promise<void> {
    const waitMs = this.#wokenGapMs ?? this.#nextMs()
    await new Promise<void>(resolve => {
      let dueMs = performance.now() + waitMs
      let timer = setTimeout(resolve, waitMs)
      this.#wake = gapMs => {
        if (performance.now() + gapMs >= dueMs) return
        clearTimeout(timer)
        dueMs = performance.now() + gapMs
        timer = setTimeout(resolve, gapMs)
      }
      if (this.#stopped.signal.aborted) this.#wake(0)
    })
    this.#wake = () => {}
  }

  #nextMs(): number {
    const { quietMs, livelyMs, idleMs } = this.#intervals
    const followers = [...this.#followers.values()]
    if (this.#health.isFailing()) return followers.length > 0 ? downMs : Math.min(quietMs, idleMs)
    if (followers.length === 0) return idleMs
    if (followers.some(({ isUrgent }) => isUrgent)) return urgentMs
    const quietSinceMs = performance.now() - quietMs
    return followers.some(({ eventAtMs }) => eventAtMs < quietSinceMs) ? quietMs : livelyMs
  }

  async #lookOnce(): Promise<void> {
    const askedAtMs = performance.now()
    const queue = await this.#http.queue({ signal: this.#stopped.signal })
    await this.#answered(queue)
    const running = new Set(queue.running.map(item => item.promptId))
    const pending = new Set(queue.pending.map(item => item.promptId))
    const counts = { running: queue.running.length, pending: queue.pending.length, askedAtMs }
    for (const [promptId, follower] of [...this.#followers]) {
      if (this.#followers.get(promptId) !== follower) continue
      const place = running.has(promptId) ? 'running' : pending.has(promptId) ? 'pending' : 'absent'
      if (place !== 'absent' || this.#seen.has(promptId)) {
        this.#seen.set(promptId, { listed: place !== 'absent', atMs: performance.now() })
      }
      const look = { kind: 'look', place, ...counts } as const
      this.#tell(promptId, follower, place === 'absent' ? await this.#sightingOfAbsent(promptId, look) : look)
    }
  }

  async #sightingOfAbsent(promptId: string, look: Sighting): Promise<Sighting> {
    try {
      const entry = await this.#http.history(promptId, { signal: this.#stopped.signal })
      return entry ? { kind: 'finished', entry } : look
    } catch (error) {
      return unreachable(error)
    }
  }

  async #answered(queue: Queue): Promise<void> {
    const items = [...queue.running, ...queue.pending]
    const foreign = items.filter(({ promptId }) => !this.#owned.has(promptId)).length
    const version = this.#health.mayBeOther() ? await this.#readVersion() : this.#health.state().version
    for (const promptId of this.#owned) {
      const isListed = items.some(item => item.promptId === promptId)
      if (!isListed && !this.#followers.has(promptId)) this.#owned.delete(promptId)
    }
    this.#health.answered({ version, queueRemaining: items.length, foreign })
  }

  async #readVersion(): Promise<string | undefined> {
    try {
      return (await this.#http.systemStats({ signal: this.#stopped.signal })).version
    } catch (err) {
      this.#log.debug({ err }, 'comfyui version not read')
      return undefined
    }
  }

  #failed(error: unknown): void {
    const sighting = unreachable(error)
    this.#log.debug({ err: error }, 'comfyui did not answer')
    for (const [promptId, follower] of [...this.#followers]) this.#tell(promptId, follower, sighting)
    this.#health.failed(sighting.refused)
  }
}

/** Starts to observe one ComfyUI; there is one observer per ComfyUI, not per prompt. Close it in the end. */
export const createObserver = (options: ObserverOptions, deps: { http: ComfyUiHttp; log: Log }): Observer =>
  new Observer(options, deps)
