import { followTask } from '@comfy-balancer/contract/endpoints/following'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import { findTask } from '../find-task.ts'
import { answerEvents } from './event-stream.ts'
import { joinOrRefuse } from './followers.ts'
import type { FollowingDeps } from './following-deps.ts'
import { type FeedReader, follow } from './task-feed.ts'

/** Adds the Server-Sent Events of a task. */
export const streamRoute = (app: App, { deps, waits, followers }: FollowingDeps): void => {
  route(app, followTask, async (request, reply) => {
    const { id: task } = await findTask(deps, request.caller, request.params.id)
    const leave = joinOrRefuse(followers, 1)
    const after = Number(request.headers['last-event-id'] ?? 0)
    return answerEvents(request, reply, (stream, signal) => {
      const reader: FeedReader = { ...stream, take: event => stream.send(event, String(event.version)) }
      return follow({ task, after, previews: request.query.previews === 1, signal }, reader, { deps, waits })
    }).finally(leave)
  })
}
