import type { Endpoint } from '@comfy-balancer/contract/endpoint'

type Schema<E extends Endpoint> = E['schema']
type StaticOf<T> = T extends { readonly static: infer S } ? S : never
type Required_<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] }
/** A key that may be left out when nothing in its value is required. */
type Key<K extends string, V> = [V] extends [never]
  ? unknown
  : keyof Required_<V> extends never
    ? { readonly [P in K]?: V }
    : { readonly [P in K]: V }

type Body<V> = [V] extends [never] ? unknown : { readonly body: V }

/** The body as JSON; an endpoint that takes another media type has none. */
type JsonOf<E extends Endpoint> = Schema<E> extends { readonly consumes: unknown } ? never : StaticOf<Schema<E>['body']>

/** What a call of this endpoint takes: its path parameters, query and body, and any further headers. */
export type Input<E extends Endpoint> = Key<'params', StaticOf<Schema<E>['params']>> &
  Key<'query', StaticOf<Schema<E>['querystring']>> &
  Body<JsonOf<E>> & {
    readonly headers?: Readonly<Record<string, string>>
    /** The body of an endpoint that takes a form instead of JSON. */
    readonly form?: FormData
    /** Ends the call early. */
    readonly signal?: AbortSignal
    /** How long the whole call may take, retries included; the client's own limit when left out. */
    readonly timeoutMs?: number
  }

/** What an endpoint answers when all is well. */
export type Answer<E extends Endpoint> = {
  [S in keyof Schema<E>['response']]: S extends 200 | 201 | 202 | 204 ? StaticOf<Schema<E>['response'][S]> : never
}[keyof Schema<E>['response']]

/** The untyped form of an input, as the wire code sees it. */
export type AnyInput = {
  readonly params?: Readonly<Record<string, unknown>>
  readonly query?: Readonly<Record<string, unknown>>
  readonly body?: unknown
  readonly form?: FormData
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
  readonly timeoutMs?: number
}
