import { STATUS_CODES } from 'node:http'
import { problemTable } from '@comfy-balancer/contract/problem'
import swagger, { type SwaggerTransform } from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import './fastify-additions.ts'

/** What stands at the head of the document. */
export type ApiInfo = { readonly title: string; readonly version: string; readonly description: string }

const apiKey = {
  type: 'http',
  scheme: 'bearer',
  description: 'An API key, made with `npm run keys -- create`'
} as const

/**
 * Serves OpenAPI 3.1 at `/openapi.json` and a page to try it at `/docs`. Routes say what is theirs; what the frame answers to any request
 * (problems as `application/problem+json`, their headers, 413, 415) is added here.
 */
export const describeItself = async (app: FastifyInstance, info: ApiInfo, hasKeys: boolean): Promise<void> => {
  await app.register(swagger, {
    openapi: { openapi: '3.1.0', info, ...(hasKeys && { components: { securitySchemes: { apiKey } } }) },
    transform: operationOf(hasKeys),
    refResolver: { buildLocalReference: (json, _base, _fragment, index) => String(json.$id ?? `def-${index}`) }
  })
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: true, theme: themeOf(info) })
  app.get('/openapi.json', { schema: { hide: true } }, async (_request, reply) => reply.send(app.swagger()))
}

const themeOf = ({ title }: ApiInfo) => ({
  title,
  css: [{ filename: 'plain.css', content: '.swagger-ui .topbar { display: none }' }]
})

type Json = Readonly<Record<string, unknown>>

const operationOf =
  (hasKeys: boolean): SwaggerTransform =>
  ({ schema, url, route }) => {
    if (!schema || schema.hide) return { schema, url }
    const scope = hasKeys ? route.config?.scope : undefined
    const isHead = route.method === 'HEAD'
    const declared = Object.entries((schema.response ?? {}) as Readonly<Record<string, Json>>)
    const response = Object.fromEntries(
      [...frameAnswers(String(route.method)), ...declared].map(([status, answer]) => {
        const full = describeAnswer(status, answer)
        return [status, isHead ? withoutContent(full) : full]
      })
    )
    return {
      url,
      schema: {
        ...schema,
        ...(isHead && { summary: 'The headers alone' }),
        response,
        ...(scope && { security: [{ apiKey: [scope] }] })
      }
    }
  }

const problemRef = { $ref: 'Problem' }

/** What can come back before a route's handler is asked; another method at the same address is answered with 405. */
const frameAnswers = (method: string): [string, Json][] => [
  ...(method === 'GET' || method === 'HEAD' ? [] : ([['413', problemRef]] as [string, Json][])),
  ['415', problemRef],
  ['default', problemRef]
]

const describeAnswer = (status: string, answer: Json): Json => {
  const headers = { ...headersOf[status], ...(answer.headers as Json | undefined) }
  const more = Object.keys(headers).length > 0 ? { headers } : {}
  if (answer.$ref === 'Problem') {
    return { description: titlesOf(status), ...more, content: { 'application/problem+json': { schema: problemRef } } }
  }
  if (answer.type === 'null') return { ...answer, ...more }
  const { contentMediaType = 'application/json', description = STATUS_CODES[status], ...schema } = answer
  return { description, ...more, content: { [String(contentMediaType)]: { schema } } }
}

const withoutContent = ({ description, headers }: Json): Json => ({
  type: 'null',
  description: description ?? 'As GET would answer',
  ...(headers !== undefined && { headers })
})

const titlesOf = (status: string): string => {
  const titles = Object.values(problemTable).filter(one => String(one.status) === status)
  if (titles.length === 0) return 'What is not readable as HTTP, or comes too slowly, is a problem too'
  return titles.map(({ title }) => title).join('; ')
}

const wait = { type: 'integer', minimum: 1, description: 'Seconds after which it is worth asking again' }
const headersOf: Readonly<Record<string, Json>> = {
  401: { 'WWW-Authenticate': { type: 'string', description: 'How to authenticate (RFC 6750)' } },
  429: { 'Retry-After': wait },
  503: { 'Retry-After': wait }
}
