import { type Static, Type } from '@sinclair/typebox'
import { named } from './endpoint.ts'

/** What `/livez` and `/readyz` answer: the whole and its parts. */
export type Health = Static<typeof Health>
export const Health = named(
  'Health',
  Type.Object({
    status: Type.Unsafe<'ok' | 'unavailable'>(Type.String({ enum: ['ok', 'unavailable'] })),
    checks: Type.Record(Type.String(), Type.Object({ status: Type.String(), detail: Type.Optional(Type.String()) }))
  })
)
