import type { Endpoint } from '@comfy-balancer/contract/endpoint'
import type { WebSocket } from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'
import { Refusal } from './problems.ts'
import { checkedSchema } from './route.ts'
import './fastify-additions.ts'

/** An open WebSocket. */
export type Socket = WebSocket

/** Serves an open socket. Whatever it adds it removes when the socket closes. */
export type SocketHandler = (socket: Socket, request: FastifyRequest) => void

/** Registers a contract endpoint whose callers switch to WebSocket. A page of another origin is refused, for browsers ask nobody. */
export const socketRoute = (app: FastifyInstance, endpoint: Endpoint, wsHandler: SocketHandler): void => {
  const options = {
    method: endpoint.method,
    url: endpoint.url,
    schema: checkedSchema(endpoint),
    config: { scope: endpoint.scope },
    preHandler: async (request: FastifyRequest) => {
      if (!request.ws) throw new Refusal('validation-failed', 'Connect to this address with WebSocket')
      if (isForeign(request)) throw new Refusal('forbidden', 'A page of another origin may not connect')
    },
    handler: async () => undefined,
    wsHandler
  }
  app.route(options as unknown as RouteOptions)
}

const isForeign = ({ headers: { origin, host } }: FastifyRequest): boolean =>
  origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host)
