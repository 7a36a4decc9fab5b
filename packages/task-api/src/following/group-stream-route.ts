import { setMaxListeners } from 'node:events'
import { followGroup } from '@comfy-balancer/contract/endpoints/following'
import type { TaskEvent } from '@comfy-balancer/contract/event'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import { findGroup } from '../group-routes.ts'
import { answerEvents } from './event-stream.ts'
import { joinOrRefuse } from './followers.ts'
import type { FollowingDeps } from './following-deps.ts'
import { readGroupPlace, writeGroupPlace } from './group-place.ts'
import { follow } from './task-feed.ts'

/** Adds the Server-Sent Events of a group: those of its tasks as they come, until all of them have ended. */
export const groupStreamRoute = (app: App, { deps, waits, followers }: FollowingDeps): void => {
  route(app, followGroup, async (request, reply) => {
    const { group } = await findGroup(deps, request.caller, request.params.id)
    const place = readGroupPlace(request.headers['last-event-id'], group.tasks.length)
    const leave = joinOrRefuse(followers, group.tasks.length)
    const previews = request.query.previews === 1
    return answerEvents(request, reply, async (stream, signal) => {
      const over = new AbortController()
      setMaxListeners(0, over.signal)
      const end = () => over.abort()
      signal.addEventListener('abort', end, { once: true })
      const followOne = async (task: string, index: number): Promise<void> => {
        const take = (event: TaskEvent): void => {
          place[index] = event.version
          stream.send(event, writeGroupPlace(place))
        }
        const feed = { task, after: place[index] ?? 0, previews, signal: over.signal }
        if (!(await follow(feed, { ...stream, take }, { deps, waits }))) end()
      }
      await Promise.all(group.tasks.map(followOne)).finally(end)
    }).finally(leave)
  })
}
