import type { TaskEvent } from '@comfy-balancer/contract/event'
import { type Problem, problem } from '@comfy-balancer/contract/problem'
import { type SocketNotice, SocketRequest } from '@comfy-balancer/contract/socket'
import type { Caller } from '@comfy-balancer/service-kit/caller'
import type { Log } from '@comfy-balancer/service-kit/log'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { Socket } from '@comfy-balancer/service-kit/socket-route'
import { Value } from '@sinclair/typebox/value'
import { findTask } from '../find-task.ts'
import { createBufferRoom } from './buffer-room.ts'
import type { FollowingDeps } from './following-deps.ts'
import { follow } from './task-feed.ts'

const maxSubscriptions = 256
/** Messages of one socket that wait for those before them. */
const maxInHand = 1_024

type Subscribe = Extract<SocketRequest, { type: 'subscribe' }>

/** One WebSocket: what it is subscribed to, and what is sent to it. */
export class SocketSession {
  readonly #socket: Socket
  readonly #caller: Caller
  readonly #deps: FollowingDeps & { readonly log: Log }
  readonly #subscriptions = new Map<string, AbortController>()
  readonly #buffer: ReturnType<typeof createBufferRoom>
  #inHand = 0
  #handling = Promise.resolve()

  constructor(socket: Socket, caller: Caller, deps: FollowingDeps & { readonly log: Log }) {
    this.#socket = socket
    this.#caller = caller
    this.#deps = deps
    this.#buffer = createBufferRoom(() => socket.bufferedAmount)
  }

  /** Takes one message of the caller. Whatever is wrong with it is answered with a problem. */
  receive(text: string): void {
    this.#inHand++
    if (this.#inHand > maxInHand) this.#socket.close(1008, 'too many messages at once')
    else this.#handling = this.#handling.then(() => this.#handle(text))
  }

  /** Ends every subscription; the socket is closed. */
  end(): void {
    for (const abort of this.#subscriptions.values()) abort.abort()
    this.#subscriptions.clear()
  }

  async #handle(text: string): Promise<void> {
    const request = readRequest(text)
    try {
      if (request === undefined) throw new Refusal('validation-failed', 'send a subscribe or an unsubscribe, as JSON')
      if (request.type === 'unsubscribe') this.#unsubscribe(request.taskId)
      else await this.#subscribe(request)
    } catch (error) {
      this.#refuse(request?.taskId ?? null, error)
    } finally {
      this.#inHand--
    }
  }

  #unsubscribe(taskId: string): void {
    this.#subscriptions.get(taskId)?.abort()
    this.#subscriptions.delete(taskId)
    this.#say({ type: 'unsubscribed', taskId })
  }

  /** Subscribing again begins again, after the version given now. */
  async #subscribe({ taskId, after = 0, previews = false }: Subscribe): Promise<void> {
    const { deps, followers } = this.#deps
    await findTask(deps, this.#caller, taskId)
    if (this.#socket.readyState !== this.#socket.OPEN) return
    this.#subscriptions.get(taskId)?.abort()
    this.#subscriptions.delete(taskId)
    if (this.#subscriptions.size >= maxSubscriptions) {
      throw new Refusal('rate-limited', `a socket may follow ${maxSubscriptions} tasks at once`)
    }
    const leave = followers.join()
    if (!leave) throw new Refusal('rate-limited', `${followers.limit} follow tasks here already`)
    const abort = new AbortController()
    this.#subscriptions.set(taskId, abort)
    this.#say({ type: 'subscribed', taskId })
    void this.#feed({ task: taskId, after, previews, signal: abort.signal }).finally(() => {
      leave()
      if (this.#subscriptions.get(taskId) === abort) this.#subscriptions.delete(taskId)
    })
  }

  async #feed(feed: Parameters<typeof follow>[0]): Promise<void> {
    const reader = {
      take: (event: TaskEvent) => void (feed.signal.aborted || this.#say(event)),
      glance: (event: TaskEvent) => void (this.#buffer.isBehind() || this.#say(event)),
      room: this.#buffer.room
    }
    try {
      const hasEnded = await follow(feed, reader, this.#deps)
      if (hasEnded && !feed.signal.aborted) this.#say({ type: 'ended', taskId: feed.task })
      else if (!feed.signal.aborted) this.#socket.terminate()
    } catch (error) {
      if (!feed.signal.aborted) this.#refuse(feed.task, error)
    }
  }

  #refuse(taskId: string | null, error: unknown): void {
    if (!(error instanceof Refusal)) this.#deps.log.warn({ err: error, taskId }, 'subscription broke off')
    this.#say({ type: 'error', taskId, problem: problemOf(error) })
  }

  #say(message: TaskEvent | SocketNotice): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(JSON.stringify(message))
  }
}

const readRequest = (text: string): SocketRequest | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return Value.Check(SocketRequest, value) ? value : undefined
  } catch {
    return undefined
  }
}

const problemOf = (error: unknown): Problem =>
  error instanceof Refusal
    ? problem(error.code, error.detail)
    : problem('internal-error', 'The events of this task cannot be read now; subscribe again after the last one')
