import { tellMessage } from './streams.ts'
import { endedPrompt, messageData, messageType, nodeStates, type TraceLine } from './trace.ts'

/**
 * How often each thing was seen, for telling when a replay has come as far as the recording had: answers by request, messages by what
 * they say, progress and node states once per node and prompt. Ids and values are left out, since those differ between runs.
 */
export class Sightings {
  readonly #counts = new Map<string, number>()
  readonly #known = new Set<string>()
  readonly #excused = new Set<string>()
  readonly #isRace: boolean

  /** In a race either outcome is right, so that only answers and ends of prompts are counted. */
  constructor(isRace: boolean) {
    this.#isRace = isRace
  }

  see(line: TraceLine): void {
    for (const key of this.#keysOf(line)) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
  }

  /** What was seen more often here than there; the first difference, or undefined when there is none. */
  firstMissingIn(other: Sightings): string | undefined {
    for (const [key, count] of this.#counts) {
      if ((other.#counts.get(key) ?? 0) < count && !this.#excused.has(key)) return key
    }
    return undefined
  }

  /** Stops asking for something that does not come. */
  excuse(key: string): void {
    this.#excused.add(key)
  }

  #keysOf(line: TraceLine): string[] {
    if (line.dir === 'http-response' || line.dir === 'http-error') return [`answer to request ${line.req}`]
    if (line.dir === 'ws-open') return [`${line.conn} opened`]
    if (line.dir === 'ws-close') return [`${line.conn} closed`]
    if (line.dir === 'ws-recv-binary') return this.#isRace ? [] : [`${line.conn} binary ${line.event}`]
    if (line.dir !== 'ws-recv' || (this.#isRace && endedPrompt(line) === undefined)) return []
    return this.#messageKeys(line)
  }

  #messageKeys(line: TraceLine): string[] {
    const type = messageType(line)
    const { prompt_id: id, node } = messageData(line)
    if (type === 'status') return [`${line.conn} status`]
    if (type === 'progress') return this.#first(`${line.conn} ${id} progress ${node}`, `${line.conn} progress ${node}`)
    if (type === 'progress_state') {
      return nodeStates(line).flatMap(([one, state]) =>
        this.#first(`${line.conn} ${id} ${one} ${state}`, `${line.conn} ${one} ${state}`)
      )
    }
    const text = tellMessage(line)
    return text === undefined ? [] : [`${line.conn} ${text}`]
  }

  #first(identity: string, key: string): string[] {
    if (this.#known.has(identity)) return []
    this.#known.add(identity)
    return [key]
  }
}
