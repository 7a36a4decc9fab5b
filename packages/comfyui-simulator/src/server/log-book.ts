/** One line of the server's log, as `/internal/logs/raw` shows it. */
export interface LogEntry {
  t: string
  m: string
}

const maxEntries = 300
const terminal = { cols: 80, rows: 24 }

/** The last 300 log entries. */
export class LogBook {
  readonly #entries: LogEntry[] = []
  readonly #onEntry: (data: { entries: LogEntry[]; size: typeof terminal }) => void

  constructor(onEntry: (data: { entries: LogEntry[]; size: typeof terminal }) => void) {
    this.#onEntry = onEntry
  }

  write(message: string): void {
    const entry = { t: new Date().toISOString().replace('Z', '000'), m: `${message}\n` }
    this.#entries.push(entry)
    if (this.#entries.length > maxEntries) this.#entries.shift()
    this.#onEntry({ entries: [entry], size: terminal })
  }

  raw(): { entries: LogEntry[]; size: typeof terminal } {
    return { entries: [...this.#entries], size: terminal }
  }

  text(): string {
    return this.#entries.map(({ t, m }) => `${t} - ${m}`).join('')
  }
}
