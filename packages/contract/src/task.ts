import { type Static, Type } from '@sinclair/typebox'
import { Instant, named, nullable, ref } from './endpoint.ts'
import { Problem } from './problem.ts'

/** The states that callers see; the last four never change. */
export const taskStates = ['queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired'] as const
export type TaskState = (typeof taskStates)[number]
export const TaskState = Type.Unsafe<TaskState>(Type.String({ enum: [...taskStates] }))

/** Task ids are `task_` and a time-ordered UUID. */
export const TaskId = Type.String({ pattern: '^task_[0-9a-z]{32}$', description: 'task_ and 32 hexadecimal digits' })

/** A file or text that a task produced, as a caller sees it. */
export type Output = Static<typeof Output>
export const Output = named(
  'Output',
  Type.Object({
    url: Type.String(),
    filename: Type.String(),
    mediaType: Type.String(),
    bytes: Type.Integer(),
    sha256: Type.String(),
    graphNode: Type.String(),
    kind: Type.String({ description: 'image, video, audio, 3d, text or file' }),
    durable: Type.Boolean({ description: 'false when only the node keeps it' })
  })
)

/** How far a running task is. */
export type Progress = Static<typeof Progress>
export const Progress = named(
  'Progress',
  Type.Object({
    percent: Type.Integer({ minimum: 0, maximum: 100 }),
    graphNode: nullable(Type.String()),
    classType: nullable(Type.String()),
    value: nullable(Type.Number()),
    max: nullable(Type.Number())
  })
)

/** Where the time of a finished or running task went. */
export type Timings = Static<typeof Timings>
export const Timings = named(
  'Timings',
  Type.Object({
    queuedSeconds: nullable(Type.Number()),
    loadSeconds: nullable(Type.Number()),
    executionSeconds: nullable(Type.Number())
  })
)

/** One accepted request to run a workflow. */
export type Task = Static<typeof Task>
export const Task = named(
  'Task',
  Type.Object({
    id: TaskId,
    state: TaskState,
    createdAt: Instant,
    startedAt: nullable(Instant),
    finishedAt: nullable(Instant),
    queue: nullable(Type.Object({ position: Type.Integer(), etaSeconds: nullable(Type.Number()) })),
    progress: nullable(ref(Progress)),
    attempt: Type.Integer({ description: 'Number of the latest attempt; 0 before the first' }),
    node: nullable(Type.String()),
    outputs: Type.Array(ref(Output)),
    error: nullable(ref(Problem)),
    timings: ref(Timings),
    seed: nullable(Type.String({ description: 'Of its sampling, where the workflow has one; all 64 bits, as text' })),
    client_id: nullable(Type.String()),
    template: nullable(Type.String({ description: 'The template it was made from' })),
    group: nullable(Type.String({ description: 'The group it was accepted with' })),
    priority: Type.Integer(),
    metadata: Type.Record(Type.String(), Type.Unknown()),
    links: Type.Object({ self: Type.String(), events: Type.String() })
  })
)

/** A page of tasks, newest first. */
export type TaskList = Static<typeof TaskList>
export const TaskList = named(
  'TaskList',
  Type.Object({ data: Type.Array(ref(Task)), nextCursor: nullable(Type.String()) })
)
