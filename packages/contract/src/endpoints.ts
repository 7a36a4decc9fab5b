import { Type } from '@sinclair/typebox'
import type { Endpoint } from './endpoint.ts'
import { media, ref } from './endpoint.ts'
import { GenerateRequest } from './generate.ts'
import { Group, GroupId } from './group.ts'
import { UploadedInput, UploadForm } from './input.ts'
import { Fleet, Node, NodeId, NodeList } from './node.ts'
import { Health } from './probe.ts'
import { Problem } from './problem.ts'
import { Fingerprint, QuarantineList } from './quarantine.ts'
import { Session } from './session.ts'
import { Task, TaskId, TaskList, TaskState } from './task.ts'
import { TaskTimeline } from './task-timeline.ts'
import { Preview, PreviewRequest, Template, TemplateContent, TemplateList, TemplateName } from './template.ts'
import { Tenant, TenantLimits, TenantName } from './tenant.ts'
import {
  DeliveryId,
  DeliveryState,
  WebhookDelivery,
  WebhookDeliveryList,
  WebhookSecret,
  WebhookSecretRequest
} from './webhook.ts'

const problems = {
  400: ref(Problem),
  401: ref(Problem),
  403: ref(Problem),
  404: ref(Problem),
  429: ref(Problem),
  500: ref(Problem),
  503: ref(Problem)
} as const
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
      prefer: Type.Optional(Type.String({ description: 'wait=N answers when the task ends, at most N seconds later' }))
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

const GroupParams = Type.Object({ id: GroupId })

export const getGroup = {
  scope: 'tasks:read',
  method: 'GET',
  url: '/api/v1/groups/:id',
  schema: {
    operationId: 'getGroup',
    summary: 'The group as it is now: counts by state, percent, the tasks',
    tags: ['tasks'],
    params: GroupParams,
    response: { 200: ref(Group), 410: ref(Problem), ...problems }
  }
} as const satisfies Endpoint

export const cancelGroup = {
  scope: 'tasks:write',
  method: 'DELETE',
  url: '/api/v1/groups/:id',
  schema: {
    operationId: 'cancelGroup',
    summary: 'Cancel every task of the group that has not ended',
    tags: ['tasks'],
    params: GroupParams,
    response: { 200: ref(Group), 410: ref(Problem), ...problems }
  }
} as const satisfies Endpoint

export const followTask = {
  method: 'GET',
  url: '/api/v1/tasks/:id/events',
  scope: 'tasks:read',
  schema: {
    operationId: 'followTask',
    summary: 'Server-Sent Events of a task, resumable with Last-Event-ID',
    tags: ['tasks'],
    params: TaskParams,
    querystring: Type.Object(
      {
        previews: Type.Optional(Type.Integer({ minimum: 0, maximum: 1, description: "1: ComfyUI's previews as well" }))
      },
      { additionalProperties: false }
    ),
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

const TemplateParams = Type.Object({ name: TemplateName })

export const listTemplates = {
  scope: 'tasks:read',
  method: 'GET',
  url: '/api/v1/templates',
  schema: {
    operationId: 'listTemplates',
    summary: 'Your templates and the shared ones, by name',
    tags: ['templates'],
    querystring: Type.Object(
      {
        limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
        cursor: Type.Optional(Type.String({ maxLength: 256, description: 'nextCursor of the page before' }))
      },
      { additionalProperties: false }
    ),
    response: { 200: ref(TemplateList), ...problems }
  }
} as const satisfies Endpoint

export const getTemplate = {
  scope: 'tasks:read',
  method: 'GET',
  url: '/api/v1/templates/:name',
  schema: {
    operationId: 'getTemplate',
    summary: 'One template, workflow included',
    tags: ['templates'],
    params: TemplateParams,
    response: { 200: ref(Template), ...problems }
  }
} as const satisfies Endpoint

export const putTemplate = {
  scope: 'templates:write',
  method: 'PUT',
  url: '/api/v1/templates/:name',
  schema: {
    operationId: 'putTemplate',
    summary: 'Store a template of your own; tasks already accepted keep what they had',
    tags: ['templates'],
    params: TemplateParams,
    body: ref(TemplateContent),
    response: {
      200: ref(Template),
      413: ref(Problem),
      415: ref(Problem),
      422: ref(Problem),
      ...problems
    }
  }
} as const satisfies Endpoint

export const deleteTemplate = {
  scope: 'templates:write',
  method: 'DELETE',
  url: '/api/v1/templates/:name',
  schema: {
    operationId: 'deleteTemplate',
    summary: 'Delete a template of your own; a shared one of the same name shows again',
    tags: ['templates'],
    params: TemplateParams,
    response: { 204: Type.Unsafe<undefined>(Type.Null()), ...problems }
  }
} as const satisfies Endpoint

export const previewTemplate = {
  scope: 'tasks:read',
  method: 'POST',
  url: '/api/v1/templates/:name/preview',
  schema: {
    operationId: 'previewTemplate',
    summary: 'The workflow that a request with these params would run',
    tags: ['templates'],
    params: TemplateParams,
    body: ref(PreviewRequest),
    response: { 200: ref(Preview), 413: ref(Problem), 415: ref(Problem), ...problems }
  }
} as const satisfies Endpoint

export const listWebhookDeliveries = {
  method: 'GET',
  url: '/api/v1/webhook-deliveries',
  scope: 'tasks:read',
  schema: {
    operationId: 'listWebhookDeliveries',
    summary: 'What became of events for webhooks, newest task first',
    tags: ['webhooks'],
    querystring: Type.Object(
      {
        task: Type.Optional(TaskId),
        state: Type.Optional(DeliveryState),
        limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
        cursor: Type.Optional(Type.String({ maxLength: 256, description: 'nextCursor of the page before' }))
      },
      { additionalProperties: false }
    ),
    response: { 200: ref(WebhookDeliveryList), ...problems }
  }
} as const satisfies Endpoint

export const redeliverWebhook = {
  method: 'POST',
  url: '/api/v1/webhook-deliveries/:id/redeliver',
  scope: 'tasks:write',
  schema: {
    operationId: 'redeliverWebhook',
    summary: 'Post an event again, at once and with a retry schedule of its own, whatever became of it before',
    tags: ['webhooks'],
    params: Type.Object({ id: DeliveryId }),
    response: { 202: ref(WebhookDelivery), ...problems }
  }
} as const satisfies Endpoint

export const putWebhookSecret = {
  method: 'PUT',
  url: '/api/v1/webhook-secret',
  scope: 'tasks:write',
  schema: {
    operationId: 'putWebhookSecret',
    summary: 'Choose or renew the secret that webhooks are signed with; it is shown in this answer only',
    tags: ['webhooks'],
    body: ref(WebhookSecretRequest),
    response: { 200: ref(WebhookSecret), 413: ref(Problem), 415: ref(Problem), ...problems }
  }
} as const satisfies Endpoint

export const uploadInput = {
  method: 'POST',
  url: '/api/v1/inputs',
  scope: 'tasks:write',
  schema: {
    operationId: 'uploadInput',
    summary: 'Keep a file for the workflows of this tenant; the same bytes have the same id',
    description: 'Images are checked by their header; files of any other kind are taken as they are.',
    tags: ['inputs'],
    consumes: ['multipart/form-data'],
    body: UploadForm,
    response: {
      201: ref(UploadedInput),
      413: ref(Problem),
      415: ref(Problem),
      422: ref(Problem),
      ...problems
    }
  }
} as const satisfies Endpoint

export const listNodes = {
  method: 'GET',
  url: '/api/v1/nodes',
  scope: 'nodes:read',
  schema: {
    operationId: 'listNodes',
    summary: 'Every node of the fleet',
    tags: ['nodes'],
    response: { 200: ref(NodeList), ...problems }
  }
} as const satisfies Endpoint

export const getNode = {
  method: 'GET',
  url: '/api/v1/nodes/:id',
  scope: 'nodes:read',
  schema: {
    operationId: 'getNode',
    summary: 'One node; a comfy-service answers for itself under the id self',
    tags: ['nodes'],
    params: Type.Object({ id: NodeId }),
    response: { 200: ref(Node), ...problems }
  }
} as const satisfies Endpoint

export const drainNode = {
  method: 'POST',
  url: '/api/v1/nodes/:id/drain',
  scope: 'nodes:write',
  schema: {
    operationId: 'drainNode',
    summary: 'Give the node nothing new; what it runs goes on. Holds until it is resumed, also over restarts',
    tags: ['nodes'],
    params: Type.Object({ id: NodeId }),
    response: { 200: ref(Node), ...problems }
  }
} as const satisfies Endpoint

export const resumeNode = {
  method: 'POST',
  url: '/api/v1/nodes/:id/resume',
  scope: 'nodes:write',
  schema: {
    operationId: 'resumeNode',
    summary: 'Give a drained node tasks again',
    tags: ['nodes'],
    params: Type.Object({ id: NodeId }),
    response: { 200: ref(Node), ...problems }
  }
} as const satisfies Endpoint

export const listQuarantine = {
  method: 'GET',
  url: '/api/v1/quarantine',
  scope: 'nodes:read',
  schema: {
    operationId: 'listQuarantine',
    summary: 'Workflows that are refused for a while, because they took ComfyUI down on several nodes',
    tags: ['nodes'],
    response: { 200: ref(QuarantineList), ...problems }
  }
} as const satisfies Endpoint

export const liftQuarantine = {
  method: 'DELETE',
  url: '/api/v1/quarantine/:fingerprint',
  scope: 'nodes:write',
  schema: {
    operationId: 'liftQuarantine',
    summary: 'Accept a refused workflow again, for every tenant it is refused to',
    tags: ['nodes'],
    params: Type.Object({ fingerprint: Fingerprint }),
    response: { 200: ref(QuarantineList), ...problems }
  }
} as const satisfies Endpoint

export const getFleet = {
  method: 'GET',
  url: '/api/v1/fleet',
  scope: 'nodes:read',
  schema: {
    operationId: 'getFleet',
    summary: 'The fleet in numbers',
    tags: ['nodes'],
    response: { 200: ref(Fleet), ...problems }
  }
} as const satisfies Endpoint

const TenantParams = Type.Object({ tenant: TenantName })

export const getTenant = {
  method: 'GET',
  url: '/api/v1/tenants/:tenant',
  scope: 'admin',
  schema: {
    operationId: 'getTenant',
    summary: 'What a tenant may use, and what it uses now',
    tags: ['tenants'],
    params: TenantParams,
    response: { 200: ref(Tenant), ...problems }
  }
} as const satisfies Endpoint

export const putTenant = {
  method: 'PUT',
  url: '/api/v1/tenants/:tenant',
  scope: 'admin',
  schema: {
    operationId: 'putTenant',
    summary: 'Set what a tenant may use; a limit that is left out holds no longer',
    tags: ['tenants'],
    params: TenantParams,
    body: ref(TenantLimits),
    response: { 200: ref(Tenant), 413: ref(Problem), 415: ref(Problem), ...problems }
  }
} as const satisfies Endpoint

export const watchFleet = {
  method: 'GET',
  url: '/api/v1/fleet/events',
  scope: 'nodes:read',
  schema: {
    operationId: 'watchFleet',
    summary: 'Server-Sent Events of the whole fleet, at most one a second: first everything, then what changed',
    tags: ['nodes'],
    response: {
      200: media('text/event-stream', 'Each `data:` is a FleetUpdate'),
      ...problems
    }
  }
} as const satisfies Endpoint

export const openSession = {
  method: 'POST',
  url: '/api/v1/session',
  scope: 'nodes:read',
  schema: {
    operationId: 'openSession',
    summary:
      'Sign a browser in with the API key of this request: sets a cookie that stands for the key for eight hours',
    tags: ['session'],
    response: { 200: ref(Session), ...problems }
  }
} as const satisfies Endpoint

export const getSession = {
  method: 'GET',
  url: '/api/v1/session',
  scope: 'nodes:read',
  schema: {
    operationId: 'getSession',
    summary: 'Who asks, and what they may do',
    tags: ['session'],
    response: { 200: ref(Session), ...problems }
  }
} as const satisfies Endpoint

export const endSession = {
  method: 'DELETE',
  url: '/api/v1/session',
  scope: null,
  schema: {
    operationId: 'endSession',
    summary: 'Sign a browser out',
    tags: ['session'],
    response: { 200: Type.Object({}), ...problems }
  }
} as const satisfies Endpoint

export const livez = {
  method: 'GET',
  url: '/livez',
  scope: null,
  schema: {
    operationId: 'livez',
    summary: 'The process is alive',
    tags: ['probes'],
    response: { 200: ref(Health) }
  }
} as const satisfies Endpoint

export const readyz = {
  method: 'GET',
  url: '/readyz',
  scope: null,
  schema: {
    operationId: 'readyz',
    summary: 'The process can do its work',
    tags: ['probes'],
    response: { 200: ref(Health), 503: ref(Health) }
  }
} as const satisfies Endpoint
