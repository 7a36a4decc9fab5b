import { type Static, Type } from '@sinclair/typebox'
import { Instant, named, nullable, ref } from './endpoint.ts'
import { Progress, TaskState } from './task.ts'

export const eventTypes = [
  'task.queued',
  'task.dispatched',
  'task.started',
  'task.progress',
  'task.preview',
  'task.output',
  'task.retried',
  'task.succeeded',
  'task.failed',
  'task.cancelled',
  'task.expired'
] as const
export type EventType = (typeof eventTypes)[number]

/** A picture of what a graph node is working on, as ComfyUI shows it. */
export type TaskPreview = Static<typeof TaskPreview>
export const TaskPreview = named(
  'TaskPreview',
  Type.Object({
    graphNode: nullable(Type.String()),
    mediaType: Type.String(),
    data: Type.String({ description: 'The bytes in base64' })
  })
)

/**
 * A change of a task's state as its journal holds it. `version` is the event's id; progress and preview events carry the version of the state
 * they belong to.
 */
export type TaskEvent = Static<typeof TaskEvent>
export const TaskEvent = named(
  'TaskEvent',
  Type.Object({
    type: Type.Unsafe<EventType>(Type.String({ enum: [...eventTypes] })),
    taskId: Type.String(),
    version: Type.Integer(),
    at: Instant,
    state: TaskState,
    attempt: Type.Integer(),
    node: nullable(Type.String()),
    reason: Type.Optional(Type.String({ description: 'Why a task was retried, failed or cancelled' })),
    progress: Type.Optional(ref(Progress)),
    preview: Type.Optional(ref(TaskPreview))
  })
)
