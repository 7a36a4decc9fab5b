import type { Endpoint } from '@comfy-balancer/contract/endpoint'
import { type Static, type TSchema, Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import './fastify-additions.ts'

type StaticOf<S> = S extends TSchema ? Static<S> : unknown
type Part<E extends Endpoint, K extends string> = E['schema'] extends { readonly [P in K]: infer S }
  ? StaticOf<S>
  : unknown
type SuccessOf<E extends Endpoint> = StaticOf<
  E['schema']['response'][keyof E['schema']['response'] & (200 | 201 | 202)]
>

/** The request that an endpoint's handler gets, after validation. */
export type RequestOf<E extends Endpoint> = FastifyRequest<{
  Params: Part<E, 'params'>
  Querystring: Part<E, 'querystring'>
  Body: Part<E, 'body'>
  Headers: Part<E, 'headers'>
}>

/** What an endpoint's handler may return: the endpoint's success shape, or the reply when it answered by itself. */
export type Handler<E extends Endpoint> = (
  request: RequestOf<E>,
  reply: FastifyReply
) => Promise<SuccessOf<E> | FastifyReply>

/** Options of one route that are not part of the contract. */
export type RouteMore = Pick<RouteOptions, 'bodyLimit' | 'config' | 'onRequest' | 'logLevel' | 'validatorCompiler'>

/**
 * Registers a contract endpoint with its handler. The status is the endpoint's first 2xx unless the handler sets another; problems are
 * thrown as `Refusal`.
 */
export const route = <const E extends Endpoint>(
  app: FastifyInstance,
  endpoint: E,
  handler: Handler<E>,
  more: RouteMore = {}
): void => {
  const status = successStatus(endpoint)
  const options = {
    ...more,
    config: { ...more.config, scope: endpoint.scope },
    method: endpoint.method,
    url: endpoint.url,
    schema: checkedSchema(endpoint),
    handler: (request: RequestOf<E>, reply: FastifyReply) => handler(request, reply.code(status))
  }
  app.route(options as unknown as RouteOptions)
}

/** What a request to the endpoint is checked by: where it declares no query parameter, none is taken. */
export const checkedSchema = ({ schema }: Endpoint): Endpoint['schema'] => ({ querystring: noQuery, ...schema })

const noQuery = Type.Object({}, { additionalProperties: false })

const successStatus = (endpoint: Endpoint): number => {
  const statuses = Object.keys(endpoint.schema.response).map(Number)
  return statuses.find(status => status >= 200 && status < 300) ?? 200
}
