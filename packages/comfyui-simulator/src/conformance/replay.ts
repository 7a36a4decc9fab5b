import { Sightings } from './sightings.ts'
import { Substitutions } from './substitutions.ts'
import { endedPrompt, historyEntries, plainPath, type TraceLine } from './trace.ts'
import { Visitor } from './visitor.ts'

/** The server that a scenario is replayed against. */
export interface Target {
  port: number
  /** Ends the server as a signal does: every connection is cut. */
  kill(): Promise<void>
  start(): Promise<void>
}

/** What a replay saw. */
export interface Replay {
  lines: TraceLine[]
  /** What was waited for in vain. */
  missed: string[]
  substitutions: Substitutions
}

const deadlineMs = 60_000

/** How a scenario is replayed. */
export interface ReplayOptions {
  /** In a race only answers and ends of prompts are waited for. */
  isRace: boolean
  /** How long nothing may come before something awaited counts as missed. */
  idleMs: number
}

/**
 * Does what the recorded clients did. Nothing is paced by a clock: an action is done when everything has been seen that the recorder
 * had seen before it, in the very moment in which the last of it arrives; or when nothing has come for `idleMs`.
 */
export function replay(recorded: TraceLine[], target: Target, options: ReplayOptions): Promise<Replay> {
  return new Player(recorded, target, options).play()
}

class Player {
  readonly #recorded: TraceLine[]
  readonly #target: Target
  readonly #idleMs: number
  readonly #substitutions: Substitutions
  readonly #visitor: Visitor
  readonly #wanted: Sightings
  readonly #seen: Sightings
  readonly #lines: TraceLine[] = []
  readonly #missed: string[] = []
  readonly #tail: number
  readonly #startedMs = performance.now()
  #at = 0
  #isBusy = false
  #isCaughtUp = false
  #idle: NodeJS.Timeout | undefined
  #finish: () => void = () => {}

  constructor(recorded: TraceLine[], target: Target, { isRace, idleMs }: ReplayOptions) {
    this.#recorded = recorded
    this.#target = target
    this.#idleMs = idleMs
    this.#wanted = new Sightings(isRace)
    this.#seen = new Sightings(isRace)
    this.#tail = recorded.findLastIndex(({ dir }) => dir !== 'ws-close' && dir !== 'mark') + 1
    const { port } = recorded[0] as TraceLine & { port: number }
    this.#substitutions = new Substitutions(Number(port), target.port)
    const deps = { port: target.port, substitutions: this.#substitutions }
    this.#visitor = new Visitor({ ...deps, tell: line => this.#see(line) })
  }

  async play(): Promise<Replay> {
    const deadline = setTimeout(() => this.#finish(), deadlineMs)
    await new Promise<void>(resolve => {
      this.#finish = resolve
      this.#rest()
      this.#advance()
    })
    clearTimeout(deadline)
    clearTimeout(this.#idle)
    if (this.#at < this.#recorded.length) this.#missed.push('the end')
    this.#isBusy = true
    this.#visitor.end()
    return { lines: this.#lines, missed: this.#missed, substitutions: this.#substitutions }
  }

  #see(line: Omit<TraceLine, 't'>): void {
    const seen = { ...line, t: performance.now() - this.#startedMs }
    this.#lines.push(seen)
    this.#seen.see(seen)
    const twin =
      seen.dir === 'http-response' && this.#recorded.find(one => one.dir === seen.dir && one.req === seen.req)
    if (twin) this.#substitutions.learnAnswer(twin, seen)
    this.#rest()
    this.#advance()
  }

  #rest(): void {
    clearTimeout(this.#idle)
    this.#idle = setTimeout(() => {
      const missing = this.#wanted.firstMissingIn(this.#seen)
      if (missing !== undefined) {
        this.#missed.push(missing)
        this.#wanted.excuse(missing)
      }
      this.#rest()
      this.#advance()
    }, this.#idleMs)
  }

  #advance(): void {
    while (!this.#isBusy && this.#isReady()) {
      const line = this.#recorded[this.#at]
      if (!line) {
        this.#finish()
        return
      }
      if (this.#at >= this.#tail && !this.#isCaughtUp) this.#pause(this.#visitor.catchUp(), true)
      else this.#step(line)
    }
  }

  #isReady(): boolean {
    const line = this.#recorded[this.#at]
    const isSeenOnly = line !== undefined && !isAction(line) && this.#at < this.#tail
    return isSeenOnly || this.#wanted.firstMissingIn(this.#seen) === undefined
  }

  #step(line: TraceLine): void {
    this.#isBusy = true
    const ending = this.#act(line)
    this.#isBusy = false
    this.#at++
    this.#wanted.see(line)
    if (ending) this.#pause(ending, this.#isCaughtUp)
  }

  #pause(until: Promise<void>, isCaughtUp: boolean): void {
    this.#isBusy = true
    void until.then(() => {
      this.#isBusy = false
      this.#isCaughtUp = isCaughtUp
      this.#advance()
    })
  }

  #act(line: TraceLine): Promise<void> | undefined {
    const { dir, note = '' } = line
    if (dir === 'http-request') this.#send(line)
    if (dir === 'ws-open') this.#visitor.open(line)
    if (dir === 'ws-send') this.#visitor.say(line)
    if (dir === 'ws-close' && line.by === 'client') this.#visitor.close(line)
    if (/^SIG\w+ sent/.test(note)) return this.#target.kill()
    if (note === 'server start requested') return this.#target.start()
    const isEnding = dir === 'ws-close' && line.by === 'server' && this.#at >= this.#tail
    return isEnding ? this.#target.kill() : undefined
  }

  #send(line: TraceLine): void {
    if (line.path?.includes('ComfyUI_temp_')) {
      this.#substitutions.learnShown(this.#recorded.slice(0, this.#at), this.#lines)
    }
    const isPoll = this.#isPoll(line)
    this.#visitor.send(line, answer => !isPoll || historyEntries(answer).size > 0 || answer.status !== 200)
  }

  /** Whether the recorder asked again and again until the history had the prompt; once its end was told, it has to be there at once. */
  #isPoll(line: TraceLine): boolean {
    const [, id] = /^\/history\/(.+)$/.exec(plainPath(line)) ?? []
    if (line.method !== 'GET' || id === undefined) return false
    const answer = this.#recorded.find(one => one.dir === 'http-response' && one.req === line.req)
    const isThere = answer !== undefined && historyEntries(answer).size > 0
    return isThere && !this.#recorded.slice(0, this.#at).some(one => endedPrompt(one) === decodeURIComponent(id))
  }
}

function isAction({ dir, by, note = '' }: TraceLine): boolean {
  if (dir === 'mark') return /^SIG\w+ sent/.test(note) || note === 'server start requested'
  return dir === 'http-request' || dir === 'ws-open' || dir === 'ws-send' || (dir === 'ws-close' && by === 'client')
}
