import { type Static, Type } from '@sinclair/typebox'
import { Instant, named, ref } from './endpoint.ts'

export const Fingerprint = Type.String({ pattern: '^[0-9a-f]{32}$', description: 'Of a workflow without its seeds' })

/** A workflow that is refused for a while, because it took ComfyUI down on several nodes. */
export type QuarantinedWorkflow = Static<typeof QuarantinedWorkflow>
export const QuarantinedWorkflow = named(
  'QuarantinedWorkflow',
  Type.Object({
    fingerprint: Fingerprint,
    tenant: Type.String(),
    task: Type.String({ description: 'The task it was found with' }),
    nodes: Type.Array(Type.String({ description: 'The nodes it took down' })),
    since: Instant,
    until: Instant
  })
)

export type QuarantineList = Static<typeof QuarantineList>
export const QuarantineList = named('QuarantineList', Type.Object({ data: Type.Array(ref(QuarantinedWorkflow)) }))
