import { type Static, Type } from '@sinclair/typebox'
import { named, ref } from './endpoint.ts'

/** The name of a tenant; it is part of paths and keys. */
export const TenantName = Type.String({ pattern: '^[a-z0-9][a-z0-9._-]{0,62}$' })

const count = (description: string, minimum = 0) =>
  Type.Optional(Type.Integer({ minimum, maximum: 10_000_000, description }))

/** What a tenant may use, the same through every balancer. A limit that is left out does not hold. */
export type TenantLimits = Static<typeof TenantLimits>
export const TenantLimits = named(
  'TenantLimits',
  Type.Object(
    {
      requestsPerMinute: count('Calls of any kind; a minute’s worth may come at once', 1),
      generationsPerHour: count('Tasks accepted within any sixty minutes'),
      maxQueued: count('Tasks that may wait'),
      maxRunning: count('Tasks that may hold a GPU; 0 pauses the tenant'),
      gpuSecondsPerDay: Type.Optional(
        Type.Number({
          minimum: 0,
          maximum: 1e9,
          description: 'Used up: no task is accepted or started until midnight UTC'
        })
      ),
      inputBytes: Type.Optional(
        Type.Integer({
          minimum: 0,
          maximum: 2 ** 50,
          description: 'Bytes of uploads kept at a time; left out, INPUT_TENANT_BYTES holds'
        })
      ),
      weight: Type.Optional(
        Type.Number({
          minimum: 0.01,
          maximum: 1_000,
          default: 1,
          description: 'Share of the GPUs beside other tenants'
        })
      )
    },
    { additionalProperties: false }
  )
)

/** A tenant with its limits and what it uses now. */
export type Tenant = Static<typeof Tenant>
export const Tenant = named(
  'Tenant',
  Type.Object({
    name: TenantName,
    limits: ref(TenantLimits),
    usage: Type.Object({
      queued: Type.Integer(),
      running: Type.Integer(),
      generationsLastHour: Type.Integer({ description: 'Counted while generationsPerHour holds' }),
      gpuSecondsToday: Type.Number(),
      inputBytes: Type.Integer()
    })
  })
)
