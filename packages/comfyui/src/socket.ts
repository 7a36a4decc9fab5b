import { randomUUID } from 'node:crypto'
import { type RawData, WebSocket } from 'ws'
import type { Log } from './log.ts'
import { type ComfyUiEvent, readBinary, readText } from './messages.ts'

export type SocketOptions = {
  readonly url: string
  /** Our name at ComfyUI. Each unclean end of a connection is followed by a new one that begins with it. */
  readonly clientId: string
  /** ComfyUI answers pings but sends none; 5 s by default. */
  readonly pingMs?: number
  /** Silence after which a connection counts as broken; 15 s by default. */
  readonly silentMs?: number
  /** How soon after our own POST a `status` must arrive on a socket that hears; 2 s by default. */
  readonly deafMs?: number
  /** Largest message: 128 MiB by default. A larger one ends the connection. */
  readonly maxMessageBytes?: number
  /** Longest pause before a new attempt to connect; 5 s by default. */
  readonly maxBackoffMs?: number
}

export type SocketDeps = {
  readonly log: Log
  readonly onEvent: (event: ComfyUiEvent) => void
  readonly onClose: () => void
}

const closeGraceMs = 1000
const greetingMs = 5000
const firstBackoffMs = 100

/** ComfyUI lets a client ask for previews that name their prompt, in its first frame only. */
const hello = JSON.stringify({ type: 'feature_flags', data: { supports_preview_metadata: true } })

const address = (url: string, clientId: string): string => {
  const base = new URL(url)
  base.protocol = base.protocol === 'https:' ? 'wss:' : 'ws:'
  base.pathname = `${base.pathname.replace(/\/+$/, '')}/ws`
  base.search = new URLSearchParams({ clientId }).toString()
  return base.href
}

/**
 * One WebSocket to ComfyUI that is opened again whenever it ends, with back-off. ComfyUI keeps one socket per client id and, when a
 * displaced one closes late, forgets the newer one; hence a fresh client id after every end that was not clean, and a test whether the
 * socket still hears after each of our own POSTs. It never holds back what ComfyUI sends: handlers must return at once.
 */
export class ComfyUiSocket {
  readonly #options: Required<SocketOptions>
  readonly #deps: SocketDeps
  #clientId: string
  #socket: WebSocket | undefined
  #isUp = false
  #isClosed = false
  #failures = 0
  #heardAtMs = 0
  #statusAtMs = 0
  #wasDeaf = false
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #waiting = new Set<() => void>()

  constructor(options: SocketOptions, deps: SocketDeps) {
    const defaults = {
      pingMs: 5000,
      silentMs: 15_000,
      deafMs: 2000,
      maxMessageBytes: 128 * 2 ** 20,
      maxBackoffMs: 5000
    }
    this.#options = { ...defaults, ...options }
    this.#deps = deps
    this.#clientId = options.clientId
    this.#connect()
    const timer = setInterval(() => this.#ping(), this.#options.pingMs)
    timer.unref()
    this.#timers.add(timer)
  }

  /** The id under which events of a prompt posted now will arrive. */
  get clientId(): string {
    return this.#clientId
  }

  /** Whether ComfyUI has greeted this socket. */
  get isUp(): boolean {
    return this.#isUp
  }

  /** When the last frame of any kind arrived, in ms of `performance.now()`. */
  get heardAtMs(): number {
    return this.#heardAtMs
  }

  /** Resolves when the socket is up, or after `timeoutMs` whatever its state. */
  async ready(timeoutMs: number): Promise<void> {
    if (this.#isUp || this.#isClosed) return
    await new Promise<void>(resolve => {
      const done = () => {
        clearTimeout(timer)
        this.#waiting.delete(done)
        resolve()
      }
      const timer = setTimeout(done, timeoutMs)
      this.#waiting.add(done)
    })
  }

  /** Call when ComfyUI has accepted a prompt that was posted at `postedAtMs`: a socket that then hears no `status` is deaf. */
  expectStatus(postedAtMs: number): void {
    const socket = this.#socket
    if (!this.#isUp) return
    this.#later(this.#options.deafMs, () => {
      if (socket !== this.#socket || this.#statusAtMs >= postedAtMs) return
      this.#deps.log.warn({ reason: 'deaf' }, 'comfyui socket replaced')
      this.#replace(socket)
    })
  }

  /** Closes for good; resolves when the connection is gone. */
  async close(): Promise<void> {
    this.#isClosed = true
    for (const timer of this.#timers) clearTimeout(timer)
    for (const done of this.#waiting) done()
    const socket = this.#socket
    if (socket === undefined || socket.readyState === WebSocket.CLOSED) return
    await new Promise<void>(resolve => {
      socket.once('close', () => resolve())
      if (socket.readyState === WebSocket.OPEN) socket.close(1000)
      else socket.terminate()
      setTimeout(() => socket.terminate(), closeGraceMs).unref()
    })
  }

  #later(delayMs: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      run()
    }, delayMs)
    timer.unref()
    this.#timers.add(timer)
  }

  #connect(): void {
    if (this.#isClosed) return
    const socket = new WebSocket(address(this.#options.url, this.#clientId), {
      handshakeTimeout: this.#options.silentMs,
      maxPayload: this.#options.maxMessageBytes,
      perMessageDeflate: false
    })
    this.#socket = socket
    this.#heardAtMs = performance.now()
    socket.on('open', () => {
      socket.send(hello)
      this.#later(greetingMs, () => !this.#isUp && socket.terminate())
    })
    socket.on('message', (data, isBinary) => this.#receive(data, isBinary))
    socket.on('pong', () => {
      this.#heardAtMs = performance.now()
    })
    socket.on('error', err => this.#deps.log.debug({ err }, 'comfyui socket failed'))
    socket.on('close', code => this.#closed(socket, code))
  }

  #receive(data: RawData, isBinary: boolean): void {
    this.#heardAtMs = performance.now()
    const frame = Buffer.isBuffer(data) ? data : Buffer.concat([data].flat().map(part => Buffer.from(part as Buffer)))
    const event = isBinary ? readBinary(frame) : readText(frame.toString('utf8'))
    if (event?.type === 'status') this.#greeted(event.first)
    if (event) this.#deps.onEvent(event)
  }

  #greeted(isFirst: boolean): void {
    this.#statusAtMs = performance.now()
    if (!isFirst) this.#wasDeaf = false
    if (this.#isUp) return
    this.#isUp = true
    this.#failures = 0
    for (const done of this.#waiting) done()
  }

  #ping(): void {
    const socket = this.#socket
    if (socket === undefined || this.#isClosed) return
    if (performance.now() - this.#heardAtMs > this.#options.silentMs) {
      this.#deps.log.warn({ reason: 'silent' }, 'comfyui socket replaced')
      socket.terminate()
    } else if (socket.readyState === WebSocket.OPEN) {
      socket.ping()
    }
  }

  /** A deaf socket that closes cleanly is gone at ComfyUI too, so its id, to which the prompt's events go, serves once more. */
  #replace(socket: WebSocket | undefined): void {
    if (this.#wasDeaf) this.#clientId = this.#freshId()
    this.#wasDeaf = true
    socket?.close(1000)
    this.#later(closeGraceMs, () => socket?.terminate())
  }

  #closed(socket: WebSocket, code: number): void {
    if (socket !== this.#socket || this.#isClosed) return
    const wasUp = this.#isUp
    this.#isUp = false
    if (wasUp && code !== 1000) this.#clientId = this.#freshId()
    if (wasUp) this.#deps.onClose()
    const cap = Math.min(this.#options.maxBackoffMs, firstBackoffMs * 2 ** this.#failures++)
    this.#later(wasUp ? 0 : cap / 2 + (Math.random() * cap) / 2, () => this.#connect())
  }

  #freshId(): string {
    return `${this.#options.clientId}-${randomUUID().slice(0, 8)}`
  }
}
