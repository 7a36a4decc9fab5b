import type { TaskEvent } from '@comfy-balancer/contract/event'
import type { Task } from '@comfy-balancer/contract/task'
import type { WebhookEvent, WebhookMessage } from '@comfy-balancer/contract/webhook'

/** A longer message goes without its task, which has an address of its own. */
const maxBytes = 262_144

/** The text to post for an event; its task is null when it is gone or very large. */
export const messageOf = (event: TaskEvent, task: Task | undefined): string => {
  const message = { type: event.type as WebhookEvent, timestamp: event.at, data: { event, task: task ?? null } }
  const text = JSON.stringify(message satisfies WebhookMessage)
  if (Buffer.byteLength(text) <= maxBytes) return text
  return JSON.stringify({ ...message, data: { event, task: null } } satisfies WebhookMessage)
}
