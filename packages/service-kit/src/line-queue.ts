/** A first-in first-out queue of log lines with a bound in bytes; the oldest lines give way. */
export class LineQueue {
  readonly #maxBytes: number
  #lines: { line: string; bytes: number }[] = []
  #head = 0
  #bytes = 0
  /** Lines that gave way since the start. */
  dropped = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get length(): number {
    return this.#lines.length - this.#head
  }

  get bytes(): number {
    return this.#bytes
  }

  push(line: string): void {
    const bytes = Buffer.byteLength(line)
    this.#lines.push({ line, bytes })
    this.#bytes += bytes
    while (this.#bytes > this.#maxBytes && this.length > 1) {
      this.shift()
      this.dropped++
    }
  }

  shift(): string | undefined {
    const first = this.#lines[this.#head]
    if (first === undefined) return undefined
    this.#head++
    this.#bytes -= first.bytes
    if (this.#head > 1024 && this.#head * 2 > this.#lines.length) {
      this.#lines = this.#lines.slice(this.#head)
      this.#head = 0
    }
    return first.line
  }
}
