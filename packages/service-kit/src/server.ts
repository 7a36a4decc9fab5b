import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { type ProblemCode, problem } from '@comfy-balancer/contract/problem'
import { schemas } from '@comfy-balancer/contract/schemas'
import websocket from '@fastify/websocket'
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import { uuidv7 } from 'uuidv7'
import { type Access, requireKeys } from './access.ts'
import { limitBodyTime, longestBodyMs } from './body-time.ts'
import { anybody } from './caller.ts'
import { measureRequests } from './http-metrics.ts'
import { takeJsonBodies } from './json-body.ts'
import type { Logger } from './logger.ts'
import { refuseUnknownRoutes } from './method-not-allowed.ts'
import type { Metrics } from './metrics.ts'
import { type ApiInfo, describeItself } from './open-api.ts'
import { closeInOrder } from './open-work.ts'
import { answerError } from './problems.ts'
import { coerceQueries } from './query-coercion.ts'
import { RequestLog } from './request-log.ts'
import { authWarning, type ServiceConfig } from './service-config.ts'
import type { Socket as WebSocket } from './socket-route.ts'
import { traceIdOf } from './trace-id.ts'
import { UpgradeRequest } from './upgrade-request.ts'
import './fastify-additions.ts'

/** A Fastify server as `createServer` makes it. Add routes with `route`. */
export type App = FastifyInstance

/** What a server needs to know before it has routes. */
export type ServerOptions = {
  readonly logger: Logger
  readonly config: Pick<ServiceConfig, 'BODY_LIMIT_BYTES' | 'BODY_SECONDS' | 'JSON_MAX_DEPTH' | 'HOST' | 'AUTH_MODE'>
  /** Stands at the head of `/openapi.json`. */
  readonly info: ApiInfo
  /** Who knows the API keys; without it everybody is one tenant. */
  readonly access?: Access | undefined
  /** Where requests are counted and timed. */
  readonly metrics?: Metrics
}

/** What a caller says over a WebSocket is short. */
const maxSocketMessageBytes = 4_096
/** Twice the longest long poll: a socket that waits for its answer is silent that long. */
const silentSocketMs = 120_000

/**
 * The HTTP frame of both services: problem+json for every error, strict JSON bodies, request ids, OpenAPI 3.1 at `/openapi.json` with a
 * page to try it at `/docs`, and an orderly close. Routes are added after it resolves and before `ready` or `listen`.
 */
export const createServer = async ({ logger, config, info, access, metrics }: ServerOptions): Promise<App> => {
  const app = fastify({
    http: { IncomingMessage: UpgradeRequest },
    loggerInstance: logger,
    logController: new RequestLog(),
    bodyLimit: config.BODY_LIMIT_BYTES,
    requestTimeout: longestBodyMs,
    connectionTimeout: silentSocketMs,
    forceCloseConnections: true,
    return503OnClosing: false,
    routerOptions: { maxParamLength: 256 },
    requestIdHeader: false,
    childLoggerFactory: (parent, bindings, options, raw) => {
      const traceId = traceIdOf(raw.headers.traceparent)
      return parent.child(traceId === undefined ? bindings : { ...bindings, traceId }, options)
    },
    genReqId: request => acceptedId(request.headers['x-request-id']) ?? uuidv7(),
    ajv: {
      customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: true, allErrors: true, verbose: true }
    },
    frameworkErrors: (error, request, reply) => {
      reply.header('x-request-id', request.id)
      answerError(error, request as FastifyRequest, reply as unknown as FastifyReply)
    },
    clientErrorHandler: answerBrokenRequest
  }) as unknown as App
  const warning = authWarning(config)
  if (warning !== undefined) logger.warn({ host: config.HOST }, warning)
  app.decorateRequest('caller')
  app.decorateRequest('isHeld', false)
  app.decorateReply('problemCode', undefined)
  app.addHook('onRequest', async (request, reply) => {
    request.caller = anybody
    reply.header('x-request-id', request.id).header('x-content-type-options', 'nosniff')
  })
  app.setErrorHandler((error, request, reply) => answerError(error, request, reply))
  closeInOrder(app)
  if (metrics) measureRequests(app, metrics)
  await app.register(websocket, { options: { maxPayload: maxSocketMessageBytes }, errorHandler: endSocket })
  limitBodyTime(app, config.BODY_SECONDS * 1_000, answerLateBody)
  refuseUnknownRoutes(app)
  takeJsonBodies(app, config.JSON_MAX_DEPTH)
  coerceQueries(app)
  if (access) requireKeys(app, access)
  for (const schema of schemas) app.addSchema(schema)
  await describeItself(app, info, access !== undefined)
  return app
}

const endSocket = (err: Error, socket: WebSocket, request: FastifyRequest): void => {
  request.log.debug({ err }, 'socket broke off')
  socket.terminate()
}

const acceptedId = (header: string | string[] | undefined): string | undefined =>
  typeof header === 'string' && /^[A-Za-z0-9._-]{8,64}$/.test(header) ? header : undefined

const codeOf: Readonly<Record<string, ProblemCode>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'request-too-slow',
  HPE_HEADER_OVERFLOW: 'headers-too-large'
}

const answerLateBody = (socket: Socket): void =>
  answerBrokenRequest(Object.assign(new Error('late'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }), socket)

/** Answers what Node could not read as a request, for which there is no request and no reply. */
const answerBrokenRequest = (error: NodeJS.ErrnoException, socket: Socket): void => {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return void socket.destroy()
  const answer = problem(codeOf[error.code ?? ''] ?? 'validation-failed', 'This could not be read as a request')
  const body = JSON.stringify(answer)
  const head = [
    `HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status]}`,
    'Content-Type: application/problem+json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close'
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}
