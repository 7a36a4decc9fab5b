import type { ServerResponse } from 'node:http'
import type { TaskEvent } from '@comfy-balancer/contract/event'
import { beginEventStream } from '@comfy-balancer/service-kit/event-stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { createBufferRoom } from './buffer-room.ts'
import type { FeedReader } from './task-feed.ts'

const commentMs = 15_000
const retryMs = 1_000

/** A response whose reader is sent events until it is closed; `id` names an event that changes a state. */
export type EventStream = Pick<FeedReader, 'glance' | 'room'> & {
  readonly send: (event: TaskEvent, id: string) => void
}

/** Answers with Server-Sent Events for as long as `tell` goes on or until its signal aborts: the reader hung up, or the service shuts down. */
export const answerEvents = async (
  request: FastifyRequest,
  reply: FastifyReply,
  tell: (stream: EventStream, signal: AbortSignal) => Promise<unknown>
): Promise<FastifyReply> => {
  const response = beginEventStream(request, reply, retryMs)
  if (!response) return reply
  const abort = new AbortController()
  const done = request.server.openStreams.add(() => abort.abort())
  response.once('close', () => abort.abort())
  request.isHeld = true
  const { stop, ...stream } = streamTo(response)
  try {
    await tell(stream, abort.signal)
  } catch (err) {
    request.log.warn({ err, path: request.url }, 'event stream broke off')
  } finally {
    stop()
    done()
    response.end()
  }
  return reply
}

const streamTo = (response: ServerResponse): EventStream & { readonly stop: () => void } => {
  const { isBehind, room } = createBufferRoom(() => response.writableLength)
  const comments = setInterval(() => void (isBehind() || response.write(': still here\n\n')), commentMs)
  const write = (head: string, event: TaskEvent): void => {
    comments.refresh()
    response.write(`${head}event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
  }
  return {
    send: (event, id) => write(`id: ${id}\n`, event),
    glance: event => void (isBehind() || write('', event)),
    room,
    stop: () => clearInterval(comments)
  }
}
