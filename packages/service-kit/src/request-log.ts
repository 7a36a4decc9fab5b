import { type FastifyReply, type FastifyRequest, LogController } from 'fastify'
import { pathOf } from './problems.ts'

const reading = new Set(['GET', 'HEAD', 'OPTIONS'])

/** One line per request that changes something at info, every other one at debug; nothing of headers, query or body. */
export class RequestLog extends LogController {
  override incomingRequest(): void {}

  override requestCompleted(_error: Error | null | undefined, request: FastifyRequest, reply: FastifyReply): void {
    const fields = {
      method: request.method,
      url: pathOf(request.url).slice(0, 512),
      statusCode: reply.statusCode,
      durationMs: Math.round(reply.elapsedTime)
    }
    if (reading.has(request.method)) request.log.debug(fields, 'request answered')
    else request.log.info(fields, 'request answered')
  }
}
