import type { ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'

/**
 * Begins an answer of Server-Sent Events, whose readers come back after so many ms when it breaks off. Undefined where only the headers were
 * asked for: then it is over.
 */
export const beginEventStream = (
  request: FastifyRequest,
  reply: FastifyReply,
  retryMs: number
): ServerResponse | undefined => {
  reply.hijack()
  reply.raw.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
    'x-content-type-options': 'nosniff',
    'x-request-id': request.id
  })
  if (request.method === 'HEAD') return void reply.raw.end()
  reply.raw.write(`retry: ${retryMs}\n\n`)
  return reply.raw
}
