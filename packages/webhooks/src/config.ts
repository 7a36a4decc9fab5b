import type { ConfigRule } from '@comfy-balancer/service-kit/config'
import { type Static, type TObject, Type } from '@sinclair/typebox'

/** The variables of every service that delivers webhooks; pass `webhookRule` to `readConfig` with them. */
export const webhookConfig = {
  WEBHOOK_RETRY_SECONDS: Type.String({
    default: '5,300,1800,7200,18000,36000,50400,72000,86400',
    pattern: '^\\d{1,6}(,\\d{1,6}){0,31}$',
    rule: 'must be seconds, comma-separated, 32 at most',
    description: 'Pauses before each further try to deliver an event; after the last one it has failed'
  }),
  WEBHOOK_TIMEOUT_SECONDS: Type.Integer({
    minimum: 1,
    maximum: 60,
    default: 15,
    description: 'How long a receiver may take to answer'
  }),
  WEBHOOK_CONCURRENCY: Type.Integer({
    minimum: 1,
    maximum: 1_000,
    default: 64,
    description: 'Deliveries under way at once in this process'
  }),
  WEBHOOK_HOST_CONCURRENCY: Type.Integer({
    minimum: 1,
    maximum: 1_000,
    default: 4,
    description: 'Of these, to one host; to a host that does not answer, one'
  })
}

/** How webhooks are delivered, as configured. */
export type WebhookConfig = Static<TObject<typeof webhookConfig>>

/** An event is kept for fifteen days at most, so its retries must be over before. */
const maxTotalSeconds = 14 * 24 * 3_600

/** Refuses a schedule of retries that would outlive the events. */
export const webhookRule: ConfigRule<WebhookConfig> = ({ WEBHOOK_RETRY_SECONDS }) => {
  const total = pausesOf(WEBHOOK_RETRY_SECONDS ?? '').reduce((sum, pause) => sum + pause, 0)
  if (total <= maxTotalSeconds * 1_000) return []
  return [{ name: 'WEBHOOK_RETRY_SECONDS', message: `must not last longer than ${maxTotalSeconds} seconds in all` }]
}

/** The pauses in ms that WEBHOOK_RETRY_SECONDS lists. */
export const pausesOf = (text: string): number[] => text.split(',').map(seconds => Number(seconds) * 1_000)
