import { type Static, Type } from '@sinclair/typebox'
import { Instant, named, nullable, ref } from './endpoint.ts'
import { type EventType, eventTypes, TaskEvent } from './event.ts'
import { Task, TaskId } from './task.ts'

/** What a webhook may be told of: every event of the journal. Progress and previews are not kept there. */
export type WebhookEvent = Exclude<EventType, 'task.progress' | 'task.preview'>
export const webhookEvents = eventTypes.filter(
  (type): type is WebhookEvent => type !== 'task.progress' && type !== 'task.preview'
)

/** What a webhook is told of unless its caller chooses: how a task ends. */
export const defaultWebhookEvents: readonly WebhookEvent[] = [
  'task.succeeded',
  'task.failed',
  'task.cancelled',
  'task.expired'
]

/** Where a task's events are posted to (Standard Webhooks), and which. */
export type Webhook = Static<typeof Webhook>
export const Webhook = named(
  'Webhook',
  Type.Object(
    {
      url: Type.String({ minLength: 1, maxLength: 2_048, description: 'Public http:// or https:// address' }),
      events: Type.Optional(
        Type.Array(Type.Unsafe<WebhookEvent>(Type.String({ enum: webhookEvents })), {
          minItems: 1,
          maxItems: webhookEvents.length,
          uniqueItems: true,
          description: 'Default: the four events that a task can end with'
        })
      )
    },
    { additionalProperties: false }
  )
)

/** The body of what is posted to a webhook: one event, and its task as it was when the event was handed over. */
export type WebhookMessage = Static<typeof WebhookMessage>
export const WebhookMessage = named(
  'WebhookMessage',
  Type.Object({
    type: Type.Unsafe<WebhookEvent>(Type.String({ enum: webhookEvents })),
    timestamp: Instant,
    data: Type.Object({
      event: ref(TaskEvent),
      task: nullable(ref(Task))
    })
  })
)

export const deliveryStates = ['pending', 'delivered', 'failed'] as const
export type DeliveryState = (typeof deliveryStates)[number]
export const DeliveryState = Type.Unsafe<DeliveryState>(Type.String({ enum: [...deliveryStates] }))

/** A delivery's id, which its receiver sees as `webhook-id`: the task and the event's version. */
export const DeliveryId = Type.String({
  pattern: '^task_[0-9a-z]{32}-[0-9]{1,9}$',
  description: 'The webhook-id that the receiver sees: {task}-{version}'
})

/** What became of one event for one webhook. */
export type WebhookDelivery = Static<typeof WebhookDelivery>
export const WebhookDelivery = named(
  'WebhookDelivery',
  Type.Object({
    id: DeliveryId,
    task: TaskId,
    version: Type.Integer(),
    type: Type.Unsafe<WebhookEvent>(Type.String({ enum: webhookEvents })),
    url: Type.String(),
    state: DeliveryState,
    tries: Type.Integer(),
    createdAt: Instant,
    triedAt: nullable(Instant),
    nextTryAt: nullable(Instant),
    status: nullable(Type.Integer({ description: 'HTTP status of the last try; null when there was no answer' })),
    error: nullable(Type.String({ description: 'Why the last try counts for nothing' }))
  })
)

export type WebhookDeliveryList = Static<typeof WebhookDeliveryList>
export const WebhookDeliveryList = named(
  'WebhookDeliveryList',
  Type.Object({ data: Type.Array(ref(WebhookDelivery)), nextCursor: nullable(Type.String()) })
)

/** A webhook secret to use from now on; without one a new one is made. */
export type WebhookSecretRequest = Static<typeof WebhookSecretRequest>
export const WebhookSecretRequest = named(
  'WebhookSecretRequest',
  Type.Object(
    {
      secret: Type.Optional(
        Type.String({
          pattern: '^whsec_[A-Za-z0-9+/]{32,86}={0,2}$',
          description: 'whsec_ and the base64 of 24 to 64 bytes; default: a new one'
        })
      ),
      overlapSeconds: Type.Optional(
        Type.Integer({
          minimum: 0,
          maximum: 604_800,
          default: 86_400,
          description: 'So long messages carry a signature by the former secret too'
        })
      )
    },
    { additionalProperties: false }
  )
)

/** The secret that webhooks are signed with. It is shown here only. */
export type WebhookSecret = Static<typeof WebhookSecret>
export const WebhookSecret = named(
  'WebhookSecret',
  Type.Object({ secret: Type.String(), formerValidUntil: nullable(Instant) })
)
