import type { Static, TSchema, TUnsafe } from '@sinclair/typebox'
import { Type } from '@sinclair/typebox'
import type { Scope } from './scope.ts'

/** One HTTP route, declared once: the server routes by it, OpenAPI is drawn from it and the client is typed by it. */
export type Endpoint = {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly url: string
  /** What a key must be allowed to do; null: open to anybody. */
  readonly scope: Scope | null
  readonly schema: {
    readonly operationId: string
    readonly summary: string
    readonly description?: string
    readonly tags: readonly string[]
    readonly params?: TSchema
    readonly querystring?: TSchema
    readonly headers?: TSchema
    /** The media type of the body where it is not JSON. */
    readonly consumes?: readonly string[]
    readonly body?: TSchema
    readonly response: Readonly<Record<number, TSchema>>
  }
}

/** Gives a schema the name under which OpenAPI and Fastify know it; keeps `$id` in the type, which TypeBox drops. */
export const named = <Id extends string, T extends TSchema>(id: Id, schema: T): T & { readonly $id: Id } =>
  Object.assign(schema, { $id: id })

/** A reference to a named schema that still infers that schema's type. */
export const ref = <T extends TSchema & { readonly $id: string }>(schema: T): TUnsafe<Static<T>> =>
  Type.Unsafe<Static<T>>(Type.Ref(schema.$id))

/** A value or null: how this API says "not yet" or "none". */
export const nullable = <T extends TSchema>(schema: T): TUnsafe<Static<T> | null> =>
  Type.Unsafe<Static<T> | null>(Type.Union([schema, Type.Null()]))

/** A body that is not JSON, as a response: its media type, and what it holds. */
export const media = (contentMediaType: string, description: string): TUnsafe<unknown> =>
  Type.Unsafe<unknown>(Type.String({ contentMediaType, description }))

/** An instant as RFC 3339 in UTC. */
export const Instant = Type.String({ format: 'date-time' })
