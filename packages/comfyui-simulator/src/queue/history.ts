import type { Json, JsonObject } from '../json/python-json.ts'

/** One finished prompt as `/history` shows it; `outputs` and `meta` are keyed by node id. */
export interface HistoryEntry {
  prompt: Json[]
  outputs: Map<string, JsonObject>
  status: { status_str: 'success' | 'error'; completed: boolean; messages: [string, JsonObject][] }
  meta: Map<string, JsonObject>
}

const maxEntries = 10_000

/** Holds finished prompts in completion order and drops the oldest one when more than 10 000 are there. */
export class History {
  readonly #entries = new Map<string, HistoryEntry>()

  get size(): number {
    return this.#entries.size
  }

  add(promptId: string, entry: HistoryEntry): void {
    const oldest = this.#entries.keys().next()
    if (this.#entries.size > maxEntries && !oldest.done) this.#entries.delete(oldest.value)
    this.#entries.set(promptId, entry)
  }

  get(promptId: string): HistoryEntry | undefined {
    return this.#entries.get(promptId)
  }

  delete(promptId: string): void {
    this.#entries.delete(promptId)
  }

  clear(): void {
    this.#entries.clear()
  }

  /** A window of entries, oldest first. Without an offset (or with a negative one) `maxItems` means the newest ones. */
  window(maxItems: number | undefined, offset: number | undefined): Map<string, HistoryEntry> {
    const start = offset ?? -1
    const begin = start < 0 && maxItems !== undefined ? Math.max(0, this.#entries.size - maxItems) : Math.max(0, start)
    const end = maxItems === undefined ? undefined : begin + Math.max(0, maxItems)
    return new Map([...this.#entries].slice(begin, end))
  }
}
