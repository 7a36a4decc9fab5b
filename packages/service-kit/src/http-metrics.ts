import { problemTable } from '@comfy-balancer/contract/problem'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import './fastify-additions.ts'
import type { Metrics } from './metrics.ts'

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
const buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Counts and times the requests of a server by route template, and counts its problems. Requests that wait on purpose are not timed. */
export const measureRequests = (app: FastifyInstance, metrics: Metrics): void => {
  const requests = metrics.counter({
    name: 'http_server_requests_total',
    help: 'Requests answered, event streams and long polls included',
    labelNames: ['http_request_method', 'http_route', 'http_response_status_class']
  })
  const seconds = metrics.histogram({
    name: 'http_server_request_duration_seconds',
    help: 'Time to answer, of requests that do not wait for a task on purpose',
    labelNames: ['http_request_method', 'http_route'],
    buckets
  })
  const problems = metrics.counter({
    name: 'comfy_api_problems_total',
    help: 'Problems answered, by their code',
    labelNames: ['code']
  })
  for (const [code, { status }] of Object.entries(problemTable)) if (status > 0) problems.inc({ code }, 0)
  metrics.gauge({
    name: 'comfy_api_streams_open',
    help: 'Event streams and requests in hand that wait for a task',
    collect() {
      this.set(app.openStreams.size)
    }
  })
  app.addHook('onResponse', async (request, reply) => {
    const where = { http_request_method: methodOf(request), http_route: routeOf(request) }
    requests.inc({ ...where, http_response_status_class: `${Math.floor(reply.statusCode / 100)}xx` })
    if (!request.isHeld && !isLate(request)) seconds.observe(where, reply.elapsedTime / 1_000)
    if (reply.problemCode !== undefined) problems.inc({ code: reply.problemCode })
  })
}

const methodOf = ({ method }: FastifyRequest): string => (methods.has(method) ? method : 'other')

const routeOf = ({ is404, routeOptions }: FastifyRequest): string =>
  is404 ? 'unmatched' : (routeOptions.url ?? 'unmatched')

/** Whether a request is answered late on purpose: a WebSocket, or a long poll by `wait` or `Prefer: wait`. */
const isLate = ({ query, headers }: FastifyRequest): boolean =>
  headers.upgrade !== undefined ||
  (query as { wait?: number } | undefined)?.wait !== undefined ||
  /\bwait\b/i.test(String(headers.prefer ?? ''))
