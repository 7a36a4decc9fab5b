import { type Static, Type } from '@sinclair/typebox'
import { named, nullable, ref } from './endpoint.ts'
import { TaskEvent } from './event.ts'

/** Why the latest attempt was given to its node. Seconds are predictions. */
export type DispatchChoice = Static<typeof DispatchChoice>
export const DispatchChoice = Type.Object({
  loadSeconds: Type.Number(),
  executionSeconds: Type.Number(),
  score: Type.Number(),
  runnerUp: nullable(Type.Object({ node: Type.String(), seconds: Type.Number() })),
  nodes: Type.Integer({ description: 'Nodes that were looked at' })
})

/** What a waiting task waits for: the nodes that could run it, by what they do now. */
export type WaitingFor = Static<typeof WaitingFor>
export const WaitingFor = Type.Object({
  ahead: Type.Integer({ description: 'Tasks of the same tenant and need that stand before it' }),
  free: Type.Integer(),
  busy: Type.Integer(),
  away: Type.Integer({ description: 'Down, draining, in quarantine or used by others' })
})

/** One node of a task's graph and the graph nodes that it takes from. */
export type GraphNodeGlance = Static<typeof GraphNodeGlance>
export const GraphNodeGlance = Type.Object({
  id: Type.String(),
  classType: Type.String(),
  title: nullable(Type.String()),
  from: Type.Array(Type.String())
})

/** The story of a task, for people: what happened, why, and what it runs. */
export type TaskTimeline = Static<typeof TaskTimeline>
export const TaskTimeline = named(
  'TaskTimeline',
  Type.Object({
    tenant: Type.String(),
    models: Type.Array(Type.String()),
    events: Type.Array(ref(TaskEvent)),
    choice: nullable(DispatchChoice),
    waitingFor: nullable(WaitingFor),
    graph: Type.Array(GraphNodeGlance, { description: 'At most 500 graph nodes' })
  })
)
