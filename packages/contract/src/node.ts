import { type Static, Type } from '@sinclair/typebox'
import { Instant, named, nullable, ref } from './endpoint.ts'
import { Progress } from './task.ts'

export const nodeStates = ['ready', 'draining', 'quarantined', 'down'] as const
export type NodeState = (typeof nodeStates)[number]
export const NodeState = Type.Unsafe<NodeState>(Type.String({ enum: [...nodeStates] }))

/** Node ids stand in Redis keys and URLs. */
export const NodeId = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$' })

/** One GPU as its node last measured it; null where the machine does not tell. */
export type Gpu = Static<typeof Gpu>
export const Gpu = named(
  'Gpu',
  Type.Object({
    uuid: nullable(Type.String()),
    name: Type.String(),
    utilization: nullable(Type.Number({ description: '0 to 1' })),
    vramTotalBytes: nullable(Type.Number()),
    vramUsedBytes: nullable(Type.Number()),
    temperatureCelsius: nullable(Type.Number()),
    powerWatts: nullable(Type.Number())
  })
)

export const careStates = ['starting', 'warming-up', 'well', 'stopping', 'failed'] as const
export type CareState = (typeof careStates)[number]

/** How a ComfyUI fares that its comfy-service starts, stops and warms up. It is given tasks only while it is well. */
export type ComfyUiCare = Static<typeof ComfyUiCare>
export const ComfyUiCare = named(
  'ComfyUiCare',
  Type.Object({
    owned: Type.Boolean({ description: 'Whether comfy-service starts it, so that it can also restart it' }),
    state: Type.Unsafe<CareState>(
      Type.String({ enum: [...careStates], description: 'failed: its warm-up workflow did; it waits to be restarted' })
    ),
    reason: nullable(Type.String({ description: 'Why it is not well, in words' })),
    restarts: Type.Integer({ description: 'How often it was restarted since comfy-service began' })
  })
)

/** ComfyUI as its comfy-service sees it. `foreign` counts prompts that are not ours. */
export type ComfyUiHealth = Static<typeof ComfyUiHealth>
export const ComfyUiHealth = named(
  'ComfyUiHealth',
  Type.Object({
    up: Type.Boolean(),
    version: nullable(Type.String()),
    queueRemaining: Type.Integer(),
    foreign: Type.Integer(),
    care: Type.Optional(ref(ComfyUiCare))
  })
)

/** The machine's own load: share of its CPUs in use and its memory. */
export type HostLoad = Static<typeof HostLoad>
export const HostLoad = named(
  'HostLoad',
  Type.Object({
    cpuUtilization: nullable(Type.Number()),
    memoryTotalBytes: nullable(Type.Number()),
    memoryUsedBytes: nullable(Type.Number())
  })
)

/** What a node reports about itself with every heartbeat. */
export type NodeReport = Static<typeof NodeReport>
export const NodeReport = named(
  'NodeReport',
  Type.Object({
    comfyui: ref(ComfyUiHealth),
    gpus: Type.Array(ref(Gpu)),
    host: ref(HostLoad),
    resident: Type.Array(Type.String({ description: 'Models believed to be loaded' })),
    catalog: nullable(Type.String({ description: 'Digest of the catalog' })),
    progress: nullable(ref(Progress))
  })
)

/** One comfy-service, the ComfyUI it wraps and their GPU. */
export type Node = Static<typeof Node>
export const Node = named(
  'Node',
  Type.Object({
    id: NodeId,
    state: NodeState,
    url: Type.String(),
    labels: Type.Record(Type.String(), Type.String()),
    gpus: Type.Array(ref(Gpu)),
    host: nullable(ref(HostLoad)),
    comfyui: nullable(ref(ComfyUiHealth)),
    models: Type.Array(Type.String({ description: 'Model files that it can load' })),
    resident: Type.Array(Type.String()),
    attempt: nullable(
      Type.Object({
        task: nullable(Type.String({ description: "null for another tenant's task" })),
        progress: nullable(ref(Progress))
      })
    ),
    quarantine: nullable(
      Type.Object({
        until: Instant,
        times: Type.Integer({ description: 'How often in a row it came to this' })
      })
    ),
    restarting: Type.Boolean({ description: 'Its ComfyUI is to be restarted, and has not been yet' }),
    lastHeartbeatAt: nullable(Instant)
  })
)

export type NodeList = Static<typeof NodeList>
export const NodeList = named('NodeList', Type.Object({ data: Type.Array(ref(Node)) }))

/** The whole fleet in numbers. */
export type Fleet = Static<typeof Fleet>
export const Fleet = named(
  'Fleet',
  Type.Object({
    nodes: Type.Record(Type.String(), Type.Integer(), { description: 'Number of nodes by state' }),
    queued: Type.Integer(),
    running: Type.Integer(),
    delayed: Type.Integer(),
    queuedByTenant: Type.Record(Type.String(), Type.Integer(), {
      description: "Without the scope admin only one's own"
    }),
    queuedByModel: Type.Record(Type.String(), Type.Integer()),
    oldestQueuedSeconds: nullable(Type.Number()),
    finished: Type.Record(Type.String(), Type.Integer(), {
      description: 'Tasks ended since the ledger began, by state'
    })
  })
)
