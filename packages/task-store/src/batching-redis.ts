import { type Command, Redis, type RedisOptions } from 'ioredis'

/**
 * A client that sends what one turn of the event loop asks for in one write: under load several requests share a system call here and one in
 * Redis, and nothing waits longer than the turn. (ioredis' own auto-pipelining holds the next commands back until the former are answered.)
 */
export class BatchingRedis extends Redis {
  constructor(options: RedisOptions) {
    super({ ...options, replyMapping: 'legacy' })
  }

  override sendCommand(command: Command, stream?: unknown): unknown {
    this.#hold()
    return super.sendCommand(command, stream as never)
  }

  #hold(): void {
    const socket = this.stream
    if (socket === undefined || socket.writableCorked > 0) return
    socket.cork()
    setImmediate(() => socket.uncork())
  }
}
