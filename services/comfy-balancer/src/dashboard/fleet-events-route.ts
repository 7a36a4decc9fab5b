import { watchFleet } from '@comfy-balancer/contract/endpoints/fleet'
import { beginEventStream } from '@comfy-balancer/service-kit/event-stream'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import type { FleetFeed } from './fleet-feed.ts'

const maxViewers = 100
const retryMs = 2_000
/** A stream ends after so long and the browser opens the next one: whoever lost the right to look does not look on for ever. */
const maxStreamMs = 900_000

/** Adds the event stream of the fleet, which the dashboard reads. */
export const fleetEventsRoute = (app: App, feed: FleetFeed): void => {
  route(app, watchFleet, async (request, reply) => {
    if (feed.viewers() >= maxViewers) {
      throw new Refusal('rate-limited', `${maxViewers} dashboards are open already`, { retryAfterSeconds: 30 })
    }
    const response = beginEventStream(request, reply, retryMs)
    if (!response) return reply
    const end = (): void => void response.end()
    const done = app.openStreams.add(end)
    const timer = setTimeout(end, maxStreamMs).unref()
    const { tenant, may } = request.caller
    const remove = feed.add({ response, tenant: may('admin') ? undefined : tenant })
    response.once('close', () => {
      clearTimeout(timer)
      remove()
      done()
    })
    return reply
  })
}
