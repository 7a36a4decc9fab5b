import { subscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import { Writable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { parentPort } from 'node:worker_threads'
import pinoSocket from 'pino-socket'
import { LineQueue } from './line-queue.ts'
import { shortLine } from './short-line.ts'

/** Where logdy listens and how much may wait for it. */
export type LogdyTransportOptions = {
  readonly host: string
  readonly port: number
  readonly service: string
  /** Lines that wait while logdy is away or slow; beyond it the oldest give way. */
  readonly queueBytes: number
  /** How long the end of the process waits for logdy. */
  readonly flushMs: number
}

/** What the transport reports once a second. */
export type LogdyStats = {
  readonly up: boolean
  readonly queued: number
  readonly queueBytes: number
  readonly droppedTotal: number
  readonly shortenedTotal: number
}

const maxLineBytes = 60_000
const maxSocketBytes = 1_048_576
const batchChars = 65_536
const pumpMs = 100
const statsMs = 1000

/**
 * Pino's transport to logdy, run in pino's worker: NDJSON over TCP through pino-socket. It is ready before logdy is, bounded when logdy
 * is slow or away, and keeps lines below logdy's limit of 65,535 bytes, beyond which logdy drops the connection with all that is in it.
 * pino-socket's own recovery stays off because it can spin forever. A default export because pino asks for one.
 */
export default function logdyTransport(options: LogdyTransportOptions): Writable {
  const lines = new LogdyLines(options)
  const decoder = new StringDecoder('utf8')
  let tail = ''
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      const parts = (tail + decoder.write(chunk)).split('\n')
      tail = parts.pop() ?? ''
      for (const part of parts) if (part !== '') lines.push(part)
      lines.pump()
      done()
    },
    final(done) {
      lines.end(options.flushMs, done)
    }
  })
}

class LogdyLines {
  readonly #service: string
  readonly #queue: LineQueue
  readonly #timers: NodeJS.Timeout[]
  #shortened = 0
  #droppedTold = 0
  #sink: Writable | undefined
  #socket: Socket | undefined
  #finish: (() => void) | undefined

  constructor(options: LogdyTransportOptions) {
    this.#service = options.service
    this.#queue = new LineQueue(options.queueBytes)
    this.#timers = [setInterval(() => this.pump(), pumpMs), setInterval(() => this.#report(), statsMs)]
    subscribe('net.client.socket', message => this.#watch((message as { socket: Socket }).socket))
    void this.#connect(options)
  }

  push(line: string): void {
    const short = shortLine(line, maxLineBytes)
    if (short.shortened) this.#shortened++
    this.#queue.push(short.line)
  }

  pump(): void {
    this.#tellDropped()
    while (this.#queue.length > 0 && this.#hasRoom()) {
      let text = ''
      while (this.#queue.length > 0 && text.length < batchChars) text += `${this.#queue.shift()}\n`
      this.#sink?.write(text)
    }
    if (this.#queue.length === 0 && (this.#socket?.writableLength ?? 0) === 0) this.#finish?.()
  }

  end(flushMs: number, done: () => void): void {
    const limit = setTimeout(() => this.#finish?.(), flushMs)
    this.#finish = () => {
      this.#finish = undefined
      clearTimeout(limit)
      for (const timer of this.#timers) clearInterval(timer)
      this.#socket?.destroy()
      done()
    }
    this.pump()
  }

  /** pino-socket makes a socket for each reconnect, does not expose it, and leaves it without an error listener after a FIN. */
  #watch(socket: Socket): void {
    this.#socket = socket
    socket.once('end', () => process.nextTick(() => socket.on('error', () => undefined)))
  }

  async #connect(options: LogdyTransportOptions): Promise<void> {
    const backoffStrategy = { name: 'exponential', initialDelay: 250, maxDelay: 10_000, randomisationFactor: 0.5 }
    const { host: address, port } = options
    this.#sink = await pinoSocket({ address, port, mode: 'tcp', reconnect: true, recovery: false, backoffStrategy })
    this.#sink.on('error', () => undefined)
    this.pump()
  }

  #isUp(): boolean {
    const socket = this.#socket
    if (this.#sink === undefined || socket === undefined) return false
    return !socket.connecting && !socket.destroyed && !socket.writableEnded && !socket.readableEnded
  }

  #hasRoom(): boolean {
    return this.#isUp() && (this.#socket?.writableLength ?? 0) < maxSocketBytes
  }

  #tellDropped(): void {
    const dropped = this.#queue.dropped - this.#droppedTold
    if (dropped === 0 || !this.#hasRoom()) return
    this.#droppedTold = this.#queue.dropped
    const record = { level: 40, time: Date.now(), service: this.#service, event: 'log.dropped', dropped }
    this.#sink?.write(`${JSON.stringify({ ...record, msg: 'log lines dropped on the way to logdy' })}\n`)
  }

  #report(): void {
    const stats: LogdyStats = {
      up: this.#isUp(),
      queued: this.#queue.length,
      queueBytes: this.#queue.bytes,
      droppedTotal: this.#queue.dropped,
      shortenedTotal: this.#shortened
    }
    parentPort?.postMessage({ code: 'EVENT', name: 'logdy', args: [stats] })
  }
}
