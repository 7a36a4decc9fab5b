import { Type } from '@sinclair/typebox'
import type { Endpoint } from '../endpoint.ts'
import { media, ref } from '../endpoint.ts'
import { GenerateRequest } from '../generate.ts'
import { type Group, GroupId } from '../group.ts'
import { Problem } from '../problem.ts'
import { Task, TaskId, TaskList, TaskState } from '../task.ts'
import { TaskTimeline } from '../task-timeline.ts'
import { TemplateName } from '../template.ts'
import { problems } from './problems.ts'

const TaskParams = Type.Object({ id: TaskId })
const WaitSeconds = Type.Integer({
  minimum: 0,
  maximum: 60,
  description: 'Answer late, when the state changes or the time is up'
})

export const generate = {
  method: 'POST',
  url: '/api/v1/generate',
  scope: 'tasks:write',
  schema: {
    operationId: 'generate',
    summary: 'Accept a workflow as a task, or with `count` or `requests` as a group of them',
    tags: ['tasks'],
    headers: Type.Object({
      'idempotency-key': Type.Optional(
        Type.String({
          pattern: '^[\\x21-\\x7e]{1,255}$',
          description: 'The same key and body within 24 h: the same task'
        })
      ),
      prefer: Type.Optional(Type.String({ description: 'wait=N answers when the task ends, at most N seconds later' })),
      traceparent: Type.Optional(
        Type.String({
          description:
            'W3C Trace Context: the id of the trace stands in the log of every service that has to do with the task'
        })
      )
    }),
    body: ref(GenerateRequest),
    response: {
      202: Type.Unsafe<Task | Group>(Type.Union([Type.Ref('Task'), Type.Ref('Group')])),
      409: ref(Problem),
      413: ref(Problem),
      415: ref(Problem),
      422: ref(Problem),
      ...problems
    }
  }
} as const satisfies Endpoint

export const getTask = {
  method: 'GET',
  url: '/api/v1/tasks/:id',
  scope: 'tasks:read',
  schema: {
    operationId: 'getTask',
    summary: 'The task as it is now, or as soon as its state changes',
    tags: ['tasks'],
    params: TaskParams,
    querystring: Type.Object({ wait: Type.Optional(WaitSeconds) }, { additionalProperties: false }),
    response: { 200: ref(Task), 410: ref(Problem), ...problems }
  }
} as const satisfies Endpoint

export const cancelTask = {
  method: 'DELETE',
  url: '/api/v1/tasks/:id',
  scope: 'tasks:write',
  schema: {
    operationId: 'cancelTask',
    summary: 'Cancel a queued or running task',
    tags: ['tasks'],
    params: TaskParams,
    response: { 200: ref(Task), 409: ref(Problem), 410: ref(Problem), ...problems }
  }
} as const satisfies Endpoint

export const listTasks = {
  method: 'GET',
  url: '/api/v1/tasks',
  scope: 'tasks:read',
  schema: {
    operationId: 'listTasks',
    summary: 'Tasks, newest first',
    tags: ['tasks'],
    querystring: Type.Object(
      {
        state: Type.Optional(TaskState),
        group: Type.Optional(GroupId),
        template: Type.Optional(TemplateName),
        limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
        cursor: Type.Optional(Type.String({ maxLength: 256, description: 'nextCursor of the page before' }))
      },
      { additionalProperties: false }
    ),
    response: { 200: ref(TaskList), ...problems }
  }
} as const satisfies Endpoint

export const getTaskLogs = {
  method: 'GET',
  url: '/api/v1/tasks/:id/logs',
  scope: 'tasks:read',
  schema: {
    operationId: 'getTaskLogs',
    summary: "ComfyUI's own log lines during this task's attempts, at most 64 KiB, as text",
    tags: ['tasks'],
    params: TaskParams,
    response: {
      200: media('text/plain', 'The lines'),
      410: ref(Problem),
      ...problems
    }
  }
} as const satisfies Endpoint

export const getTaskTimeline = {
  method: 'GET',
  url: '/api/v1/tasks/:id/timeline',
  scope: 'tasks:read',
  schema: {
    operationId: 'getTaskTimeline',
    summary: 'What happened to a task and why, what it waits for, and its graph: for people',
    tags: ['tasks'],
    params: TaskParams,
    response: { 200: ref(TaskTimeline), 410: ref(Problem), ...problems }
  }
} as const satisfies Endpoint

export const getOutput = {
  method: 'GET',
  url: '/api/v1/tasks/:id/outputs/:output',
  scope: 'tasks:read',
  schema: {
    operationId: 'getOutput',
    summary: 'The bytes of an output; one Range, If-Range and If-None-Match are honoured; the ETag is the SHA-256',
    tags: ['tasks'],
    params: Type.Object({
      id: TaskId,
      output: Type.String({ pattern: '^[0-9]{1,9}-[0-9]{1,9}$', description: '{attempt}-{index}' })
    }),
    querystring: Type.Object(
      {
        redirect: Type.Optional(
          Type.Boolean({
            description:
              'true: where outputs are kept in S3, answer 302 to an address there that works for five minutes without a key; elsewhere the bytes'
          })
        )
      },
      { additionalProperties: false }
    ),
    response: {
      200: media('*/*', 'The bytes, in the media type of the output'),
      206: media('*/*', 'The part that Range names'),
      302: Type.Null({ description: 'The bytes are at Location' }),
      304: Type.Null({ description: 'As If-None-Match has it already' }),
      416: Type.Null({ description: 'The Range begins beyond the end' }),
      410: ref(Problem),
      ...problems
    }
  }
} as const satisfies Endpoint
