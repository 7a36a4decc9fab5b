import { Type } from '@sinclair/typebox'
import type { Endpoint } from '../endpoint.ts'
import { media, ref } from '../endpoint.ts'
import { GroupId } from '../group.ts'
import { Problem } from '../problem.ts'
import { TaskId } from '../task.ts'
import { problems } from './problems.ts'

const TaskParams = Type.Object({ id: TaskId })
const Previews = Type.Object(
  {
    previews: Type.Optional(Type.Integer({ minimum: 0, maximum: 1, description: "1: ComfyUI's previews as well" }))
  },
  { additionalProperties: false }
)

export const followTask = {
  method: 'GET',
  url: '/api/v1/tasks/:id/events',
  scope: 'tasks:read',
  schema: {
    operationId: 'followTask',
    summary: 'Server-Sent Events of a task, resumable with Last-Event-ID',
    tags: ['tasks'],
    params: TaskParams,
    querystring: Previews,
    headers: Type.Object({ 'last-event-id': Type.Optional(Type.String({ pattern: '^[0-9]{1,15}$' })) }),
    response: {
      200: media(
        'text/event-stream',
        'Each `data:` is a TaskEvent; the `id:` of one that changes the state is its version'
      ),
      410: ref(Problem),
      ...problems
    }
  }
} as const satisfies Endpoint

export const followGroup = {
  method: 'GET',
  url: '/api/v1/groups/:id/events',
  scope: 'tasks:read',
  schema: {
    operationId: 'followGroup',
    summary: 'Server-Sent Events of all tasks of a group until the last has ended, resumable with Last-Event-ID',
    tags: ['tasks'],
    params: Type.Object({ id: GroupId }),
    querystring: Previews,
    headers: Type.Object({
      'last-event-id': Type.Optional(Type.String({ pattern: '^[0-9x.]+$', maxLength: 8_192 }))
    }),
    response: {
      200: media(
        'text/event-stream',
        'Each `data:` is a TaskEvent; the `id:` of one that changes a state says how far this is in every task'
      ),
      410: ref(Problem),
      ...problems
    }
  }
} as const satisfies Endpoint

export const openSocket = {
  method: 'GET',
  url: '/api/v1/ws',
  scope: 'tasks:read',
  schema: {
    operationId: 'openSocket',
    summary: 'A WebSocket for the events of many tasks',
    description:
      'Send {"type":"subscribe","taskId":"…","after":0,"previews":false} and {"type":"unsubscribe","taskId":"…"}. What comes are TaskEvents, ' +
      'and {"type":"subscribed"|"unsubscribed"|"ended","taskId"} or {"type":"error","taskId","problem"}.',
    tags: ['tasks'],
    response: { 101: Type.Unsafe<unknown>(Type.Null({ description: 'Switching protocols' })), ...problems }
  }
} as const satisfies Endpoint
