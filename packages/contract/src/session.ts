import { type Static, Type } from '@sinclair/typebox'
import { named, nullable } from './endpoint.ts'
import { type Scope, scopes } from './scope.ts'

/** Who asks, and what they may do. `keyName` is null where no keys are asked for. */
export type Session = Static<typeof Session>
export const Session = named(
  'Session',
  Type.Object({
    tenant: Type.String(),
    keyName: nullable(Type.String()),
    scopes: Type.Array(Type.Unsafe<Scope>(Type.String({ enum: [...scopes] })))
  })
)
