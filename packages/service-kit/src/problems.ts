import {
  type Problem,
  type ProblemCode,
  type ProblemPlace,
  problem,
  problemTable
} from '@comfy-balancer/contract/problem'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import './fastify-additions.ts'
import { type Allowance, tellAllowance } from './rate-limit.ts'

/** What a refusal may carry besides its code and detail. */
export type RefusalMore = {
  readonly errors?: readonly ProblemPlace[]
  readonly comfyui?: unknown
  /** For 429 and 503; default 5. */
  readonly retryAfterSeconds?: number
  /** The allowance that is used up. */
  readonly allowance?: Allowance | undefined
}

/** Thrown anywhere in a request to answer it with a problem that the caller may see. Everything else becomes a bare 500. */
export class Refusal extends Error {
  readonly code: ProblemCode
  readonly detail: string
  readonly more: RefusalMore

  constructor(code: ProblemCode, detail: string, more: RefusalMore = {}) {
    super(`${code}: ${detail}`)
    this.name = 'Refusal'
    this.code = code
    this.detail = detail
    this.more = more
  }
}

const defaultRetryAfterSeconds = 5
const maxPlaces = 32

/** Turns whatever was thrown into the answer, and logs it once when it is our fault. */
export const answerError = (error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
  const { body, retryAfterSeconds } = toProblem(error, request)
  if (body.code === 'internal-error') request.log.error({ err: error, errorSource: 'ours' }, 'request failed')
  if (body.status === 429 || body.status === 503) {
    if (error instanceof Refusal && error.more.allowance) tellAllowance(reply, error.more.allowance)
    reply.header('retry-after', String(Math.max(1, Math.ceil(retryAfterSeconds ?? defaultRetryAfterSeconds))))
  }
  reply.problemCode = body.code as ProblemCode
  return reply
    .code(body.status)
    .header('cache-control', 'no-store')
    .type('application/problem+json; charset=utf-8')
    .serializer(JSON.stringify)
    .send(body)
}

/** The name of a request inside a problem: its id when that is a UUID, else its path. */
export const instanceOf = (request: Pick<FastifyRequest, 'id' | 'url'>): string =>
  /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(request.id) ? `urn:uuid:${request.id}` : pathOf(request.url)

/** The path of a request's target, without its query. */
export const pathOf = (url: string): string => url.split('?', 1)[0] ?? url

type Answer = { readonly body: Problem; readonly retryAfterSeconds?: number | undefined }

const toProblem = (error: unknown, request: FastifyRequest): Answer => {
  const base = { instance: instanceOf(request), requestId: request.id }
  if (error instanceof Refusal) {
    const { errors, comfyui, retryAfterSeconds } = error.more
    const more = { ...(errors && { errors: errors.slice(0, maxPlaces) }), ...(comfyui !== undefined && { comfyui }) }
    return { body: problem(error.code, error.detail, { ...base, ...more }), retryAfterSeconds }
  }
  const known = error as Partial<FastifyError>
  if (known.validation !== undefined) {
    const errors = known.validation.slice(0, maxPlaces).map(one => placeOf(one, known.validationContext))
    return { body: problem('validation-failed', errors.map(place => place.detail).join('; '), { ...base, errors }) }
  }
  const framework = request.raw.aborted ? brokenOff : frameworkProblem(known)
  if (framework !== undefined) return { body: problem(framework.code, framework.detail, base) }
  return {
    body: problem('internal-error', 'The request could not be served; its id finds the reason in our log', base)
  }
}

/** The caller hung up in the middle of its request: nobody's fault here, and nobody there to read the answer. */
const brokenOff = { code: 'validation-failed', detail: 'The request broke off' } as const

const frameworkProblem = (error: Partial<FastifyError>): { code: ProblemCode; detail: string } | undefined => {
  if (!error.code?.startsWith('FST_')) return undefined
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    return { code: 'unsupported-media-type', detail: 'Send the body with Content-Type: application/json' }
  }
  if (error.statusCode === 413)
    return { code: 'payload-too-large', detail: 'The request body is larger than this service takes' }
  if (error.statusCode === 404 || error.code === 'FST_STATIC_FORBIDDEN_PATH')
    return { code: 'not-found', detail: 'There is nothing at this address' }
  const isOurs = error.statusCode === undefined || error.statusCode >= 500
  return isOurs
    ? undefined
    : { code: 'validation-failed', detail: error.message ?? problemTable['validation-failed'].title }
}

type SchemaError = NonNullable<FastifyError['validation']>[number]

/** Where a value does not fit its schema, and what it must be. */
export const placeOf = (error: SchemaError, context = 'body'): ProblemPlace => {
  const field = missingOrUnknown(error)
  const pointer = field === undefined ? error.instancePath : `${error.instancePath}/${escapePointer(field)}`
  const inBody = context === 'body'
  return {
    pointer: inBody ? pointer : `/${context}${pointer}`,
    code: error.keyword,
    detail:
      context === 'querystring' && field !== undefined
        ? describeQuery(error, field)
        : `${inBody ? '' : `${context} `}${describe(error, field, pointer || 'the body')}`
  }
}

const missingOrUnknown = (error: SchemaError): string | undefined => {
  const { missingProperty, additionalProperty } = error.params
  const field = missingProperty ?? additionalProperty
  return typeof field === 'string' ? field.slice(0, 128) : undefined
}

const describe = (error: SchemaError, field: string | undefined, where: string): string => {
  if (error.keyword === 'additionalProperties') return `${where} is an unknown field${knownIn(error)}`
  if (error.keyword === 'required') return `${where} is missing`
  if (error.keyword === 'enum') return `${where} must be one of ${(error.params.allowedValues as unknown[]).join(', ')}`
  return `${field ?? where} ${error.message}`
}

const describeQuery = (error: SchemaError, field: string): string =>
  error.keyword === 'required'
    ? `the query parameter ${field} is missing`
    : `${field} is a query parameter that is unknown here${knownIn(error)}`

/** The fields that would be known instead, where the validator tells them. */
const knownIn = (error: SchemaError): string => {
  const { properties = {} } = (error as { parentSchema?: { properties?: object } }).parentSchema ?? {}
  const names = Object.keys(properties)
  return names.length === 0 ? '' : `; known are ${names.join(', ')}`
}

const escapePointer = (text: string): string => text.replaceAll('~', '~0').replaceAll('/', '~1')
