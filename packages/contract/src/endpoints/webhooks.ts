import { Type } from '@sinclair/typebox'
import type { Endpoint } from '../endpoint.ts'
import { ref } from '../endpoint.ts'
import { Problem } from '../problem.ts'
import { TaskId } from '../task.ts'
import {
  DeliveryId,
  DeliveryState,
  WebhookDelivery,
  WebhookDeliveryList,
  WebhookSecret,
  WebhookSecretRequest
} from '../webhook.ts'
import { problems } from './problems.ts'

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
