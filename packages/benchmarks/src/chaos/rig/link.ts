import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { Pipe } from './pipe.ts'
import { stablePort } from './stable-port.ts'

/** What a link waits for in what is sent: `onReply` runs when the answer to it comes, which is passed on or lost with the connection. */
export type Trap = {
  readonly match: RegExp
  readonly losesReply: boolean
  readonly onReply: (request: string) => void
}

type Pair = { readonly client: Socket; readonly server: Socket; trapped: { trap: Trap; request: string } | undefined }

/**
 * A TCP proxy of our own between two programs. It refuses connections while its target is down, as the target itself would; it can be slow,
 * silent (nothing passes, nothing is closed) or cut, and lose the answer to a command that was carried out.
 */
export class Link {
  readonly name: string
  readonly #target: () => number
  readonly #pairs = new Set<Pair>()
  #server: Server | undefined
  #port = 0
  #delayMs = 0
  #isStalled = false
  #trap: Trap | undefined

  constructor(name: string, target: () => number) {
    this.name = name
    this.#target = target
  }

  get port(): number {
    return this.#port
  }

  get isStalled(): boolean {
    return this.#isStalled
  }

  /** Takes connections, always on the same port. */
  async open(): Promise<void> {
    if (this.#server) return
    const server = createServer({ allowHalfOpen: true }, client => this.#join(client))
    this.#server = server
    if (this.#port === 0) this.#port = await stablePort()
    server.listen(this.#port, '127.0.0.1')
    await once(server, 'listening')
  }

  /** Refuses connections and breaks those there are. */
  close(): void {
    this.#server?.close()
    this.#server = undefined
    this.cut()
  }

  /** Breaks every connection. */
  cut(): void {
    for (const { client, server } of this.#pairs) {
      client.destroy()
      server.destroy()
    }
  }

  /** What is sent from now on arrives so much later; both ways. */
  delay(ms: number): void {
    this.#delayMs = ms
  }

  stall(): void {
    this.#isStalled = true
  }

  /** What was held back arrives now. */
  resume(): void {
    this.#isStalled = false
    for (const pair of this.#pairs) this.#pumps.get(pair)?.()
  }

  /** Waits for a matching command; the trap before is forgotten. */
  setTrap(trap: Trap | undefined): void {
    this.#trap = trap
  }

  readonly #pumps = new Map<Pair, () => void>()

  #join(client: Socket): void {
    const server = connect({ port: this.#target(), host: '127.0.0.1', allowHalfOpen: true })
    const pair: Pair = { client, server, trapped: undefined }
    const state = { delayMs: () => this.#delayMs, isStalled: () => this.#isStalled }
    const there = new Pipe(client, server, { ...state, sees: chunk => this.#sees(pair, chunk) })
    const back = new Pipe(server, client, { ...state, sees: () => this.#answers(pair) })
    this.#pairs.add(pair)
    this.#pumps.set(pair, () => {
      there.pump()
      back.pump()
    })
    const forget = () => {
      this.#pairs.delete(pair)
      this.#pumps.delete(pair)
    }
    for (const [one, other] of [
      [client, server],
      [server, client]
    ] as const) {
      one.setNoDelay(true)
      one.on('error', () => other.destroy())
      one.on('close', hadError => {
        forget()
        if (hadError) other.destroy()
      })
    }
  }

  #sees(pair: Pair, chunk: Buffer): boolean {
    if (!this.#trap || pair.trapped) return true
    const request = chunk.toString('latin1')
    if (!this.#trap.match.test(request)) return true
    pair.trapped = { trap: this.#trap, request }
    this.#trap = undefined
    return true
  }

  #answers(pair: Pair): boolean {
    if (!pair.trapped) return true
    const { trap, request } = pair.trapped
    pair.trapped = undefined
    trap.onReply(request)
    if (!trap.losesReply) return true
    pair.client.destroy()
    pair.server.destroy()
    return false
  }
}
