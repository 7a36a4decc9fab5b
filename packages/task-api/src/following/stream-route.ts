import type { ServerResponse } from 'node:http'
import { followTask } from '@comfy-balancer/contract/endpoints/following'
import type { TaskEvent } from '@comfy-balancer/contract/event'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import { findTask } from '../find-task.ts'
import { createBufferRoom } from './buffer-room.ts'
import type { FollowingDeps } from './following-deps.ts'
import { type FeedReader, follow } from './task-feed.ts'

const commentMs = 15_000

/** Adds the Server-Sent Events of a task. */
export const streamRoute = (app: App, { deps, waits, followers }: FollowingDeps): void => {
  route(app, followTask, async (request, reply) => {
    const { id: task } = await findTask(deps, request.caller, request.params.id)
    const leave = followers.join()
    if (!leave) throw new Refusal('rate-limited', `${followers.limit} follow tasks here already; try another balancer`)
    const after = Number(request.headers['last-event-id'] ?? 0)
    const abort = new AbortController()
    const done = app.openStreams.add(() => abort.abort())
    reply.raw.once('close', () => abort.abort())
    request.isHeld = true
    reply.hijack()
    reply.raw.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      'x-content-type-options': 'nosniff',
      'x-request-id': request.id
    })
    reply.raw.write('retry: 1000\n\n')
    const reader = readerOf(reply.raw)
    try {
      const feed = { task, after, previews: request.query.previews === 1, signal: abort.signal }
      await follow(feed, reader, { deps, waits })
    } catch (err) {
      request.log.warn({ err, taskId: task }, 'event stream broke off')
    } finally {
      reader.stop()
      leave()
      done()
      reply.raw.end()
    }
    return reply
  })
}

const readerOf = (response: ServerResponse): FeedReader & { readonly stop: () => void } => {
  const { isBehind, room } = createBufferRoom(() => response.writableLength)
  const comments = setInterval(() => void (isBehind() || response.write(': still here\n\n')), commentMs)
  const write = (head: string, event: TaskEvent): void => {
    comments.refresh()
    response.write(`${head}event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
  }
  return {
    take: event => write(`id: ${event.version}\n`, event),
    glance: event => void (isBehind() || write('', event)),
    room,
    stop: () => clearInterval(comments)
  }
}
