import { type Static, Type } from '@sinclair/typebox'
import type { Problem } from './problem.ts'
import { TaskId } from './task.ts'

/** What a caller sends over the WebSocket of `/api/v1/ws`. `after` is the version of the last event that it has. */
export type SocketRequest = Static<typeof SocketRequest>
export const SocketRequest = Type.Union([
  Type.Object(
    {
      type: Type.Literal('subscribe'),
      taskId: TaskId,
      after: Type.Optional(Type.Integer({ minimum: 0 })),
      previews: Type.Optional(Type.Boolean({ default: false }))
    },
    { additionalProperties: false }
  ),
  Type.Object({ type: Type.Literal('unsubscribe'), taskId: TaskId }, { additionalProperties: false })
])

/** What the WebSocket says besides the events themselves. `ended`: nothing more will come about this task. */
export type SocketNotice =
  | { readonly type: 'subscribed' | 'unsubscribed' | 'ended'; readonly taskId: string }
  | { readonly type: 'error'; readonly taskId: string | null; readonly problem: Problem }
