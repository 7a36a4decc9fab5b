import type { Socket } from 'node:net'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import './fastify-additions.ts'

/** Whatever a route allows, no body may take longer. */
export const longestBodyMs = 3_600_000

const hasBody = ({ headers }: FastifyRequest): boolean =>
  headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0

/**
 * Ends requests whose body does not arrive in time: a caller that sends a byte now and then would hold its connection for ever. A route may
 * allow more by `bodyMs` in its config. `answer` tells the caller and lets go of the socket.
 */
export const limitBodyTime = (app: FastifyInstance, usualMs: number, answer: (socket: Socket) => void): void => {
  app.addHook('onRequest', async (request, reply) => {
    if (!hasBody(request)) return
    const late = () => (reply.raw.headersSent ? request.raw.destroy() : answer(request.raw.socket))
    const timer = setTimeout(late, request.routeOptions.config.bodyMs ?? usualMs)
    const { raw } = request
    const { socket } = raw
    // A body that nobody reads neither ends nor closes: only its socket tells that it is over.
    const over = () => {
      clearTimeout(timer)
      socket.off('close', over)
    }
    raw.once('end', over).once('close', over)
    socket.once('close', over)
  })
}
