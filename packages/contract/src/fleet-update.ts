import { type Static, Type } from '@sinclair/typebox'
import { Instant, named, nullable, ref } from './endpoint.ts'
import { Gpu, NodeId, NodeState } from './node.ts'
import { Progress, TaskId, TaskState } from './task.ts'

/** A node as the dashboard draws it. What does not change is not repeated, so nothing in it tells the present time. */
export type NodeGlance = Static<typeof NodeGlance>
export const NodeGlance = Type.Object({
  id: NodeId,
  state: NodeState,
  trouble: nullable(Type.String({ description: 'Why it gets no task now, in plain words' })),
  silentSince: nullable(Instant),
  gpu: nullable(ref(Gpu)),
  gpus: Type.Integer(),
  resident: Type.Array(Type.String()),
  restartable: Type.Boolean({ description: 'Its comfy-service can restart its ComfyUI, and has not been asked to' }),
  attempt: nullable(
    Type.Object({
      task: nullable(Type.String({ description: "null for another tenant's" })),
      tenant: nullable(Type.String()),
      claimedAt: Instant,
      expectedAt: nullable(Type.Unsafe<string>(Instant)),
      models: Type.Array(Type.String()),
      progress: nullable(ref(Progress))
    })
  )
})

/** The tasks of a tenant that wait with the same need, and since when the foremost does. */
export type QueueGlance = Static<typeof QueueGlance>
export const QueueGlance = Type.Object({
  tenant: Type.String(),
  models: Type.Array(Type.String()),
  waiting: Type.Integer(),
  foremostAt: nullable(Instant)
})

/** A task that has ended. */
export type EndedGlance = Static<typeof EndedGlance>
export const EndedGlance = Type.Object({
  id: TaskId,
  tenant: Type.String(),
  state: TaskState,
  node: nullable(Type.String()),
  attempt: Type.Integer(),
  models: Type.Array(Type.String()),
  finishedAt: Instant,
  queuedSeconds: nullable(Type.Number()),
  ranSeconds: nullable(Type.Number({ description: 'From the claim of the last attempt to the end' })),
  reloaded: Type.Boolean({ description: 'Models were loaded for it' }),
  outputs: Type.Integer(),
  picture: nullable(Type.String({ description: 'URL of its first image' })),
  error: nullable(Type.String())
})

/** The fleet in one line. Windows are as long as this balancer has been watching, ten minutes at most. */
export type FleetTotals = Static<typeof FleetTotals>
export const FleetTotals = Type.Object({
  nodes: Type.Record(Type.String(), Type.Integer(), { description: 'Number of nodes by state' }),
  running: Type.Integer(),
  queued: Type.Integer(),
  delayed: Type.Integer(),
  oldestAt: nullable(Instant),
  windowSeconds: Type.Integer(),
  succeeded: Type.Integer({ description: 'Within the window' }),
  failed: Type.Integer({ description: 'Within the window' }),
  reloadShare: nullable(Type.Number({ description: 'Of the last tasks that succeeded' }))
})

/** Percent by sample, oldest first; null where the machine does not tell. `busy` is the ledger's own knowledge: an attempt held the slot. */
export type NodeHistory = Static<typeof NodeHistory>
export const NodeHistory = Type.Object({
  utilization: Type.Array(nullable(Type.Integer())),
  vram: Type.Array(nullable(Type.Integer())),
  busy: Type.Array(nullable(Type.Integer()))
})

/** One message of the fleet's event stream: everything (`isWhole`), or what has changed since the message before. */
export type FleetUpdate = Static<typeof FleetUpdate>
export const FleetUpdate = named(
  'FleetUpdate',
  Type.Object({
    at: Instant,
    isWhole: Type.Boolean(),
    totals: FleetTotals,
    nodes: Type.Array(NodeGlance),
    gone: Type.Array(NodeId),
    queues: Type.Optional(Type.Array(QueueGlance)),
    ended: Type.Optional(Type.Array(EndedGlance, { description: 'Newest first' })),
    sampleSeconds: Type.Integer(),
    history: Type.Optional(
      Type.Record(Type.String(), NodeHistory, { description: 'By node: samples to append, or all of them' })
    ),
    logdyUrl: nullable(Type.String())
  })
)
