import type { Socket } from 'node:net'

/** What a pipe asks of its link; `sees` tells whether a chunk is passed on. */
export type PipeDeps = {
  readonly delayMs: () => number
  readonly isStalled: () => boolean
  readonly sees: (chunk: Buffer) => boolean
}

/** So much may be on its way before the sender is made to wait. */
const maxBytes = 1_048_576

/** One direction of a connection: everything arrives in order, as late as the link is slow; an end is passed on like data. */
export class Pipe {
  readonly #to: Socket
  readonly #from: Socket
  readonly #deps: PipeDeps
  readonly #queue: { readonly dueMs: number; readonly chunk: Buffer | undefined }[] = []
  #bytes = 0
  #lastDueMs = 0
  #timer: NodeJS.Timeout | undefined

  constructor(from: Socket, to: Socket, deps: PipeDeps) {
    this.#from = from
    this.#to = to
    this.#deps = deps
    from.on('data', chunk => {
      if (deps.sees(chunk)) this.#push(chunk)
    })
    from.on('end', () => this.#push(undefined))
    to.on('close', () => clearTimeout(this.#timer))
    to.on('drain', () => this.pump())
  }

  /** Passes on what is due. */
  pump(): void {
    clearTimeout(this.#timer)
    while (!this.#deps.isStalled()) {
      const next = this.#queue[0]
      if (!next || this.#to.destroyed) break
      const waitMs = next.dueMs - performance.now()
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), Math.ceil(waitMs))
        break
      }
      this.#queue.shift()
      if (!next.chunk) {
        this.#to.end()
        break
      }
      this.#bytes -= next.chunk.length
      if (!this.#to.write(next.chunk)) break
    }
    if (this.#bytes < maxBytes && this.#from.isPaused()) this.#from.resume()
  }

  #push(chunk: Buffer | undefined): void {
    this.#lastDueMs = Math.max(this.#lastDueMs, performance.now() + this.#deps.delayMs())
    this.#queue.push({ dueMs: this.#lastDueMs, chunk })
    this.#bytes += chunk?.length ?? 0
    if (this.#bytes >= maxBytes) this.#from.pause()
    this.pump()
  }
}
