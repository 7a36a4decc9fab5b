import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import { defaultWebhookEvents } from '@comfy-balancer/contract/webhook'
import { urlFault } from '@comfy-balancer/service-kit/egress-rules'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { NewTask } from '@comfy-balancer/task-store/new-task'
import type { TaskApiDeps } from './deps.ts'

/**
 * Where to post which of a task's events. What the address leads to shows only when it is called, and is checked then, every time. Throws a
 * Refusal for one that may not be called as it stands.
 */
export const webhookOf = (
  { webhook }: Pick<GenerateRequest, 'webhook'>,
  { urlRules }: Pick<TaskApiDeps, 'urlRules'>
): NewTask['webhook'] => {
  if (webhook === undefined) return undefined
  const fault = urlFault(webhook.url, urlRules)
  if (fault === undefined) return { url: webhook.url, events: webhook.events ?? defaultWebhookEvents }
  const detail = `the webhook URL ${fault}`
  throw new Refusal('input-url-blocked', detail, {
    errors: [{ pointer: '/webhook/url', code: 'webhook-url-blocked', detail }]
  })
}
