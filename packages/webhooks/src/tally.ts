import type { Metrics } from '@comfy-balancer/service-kit/metrics'
import type { Try } from '@comfy-balancer/task-store/deliveries'

/** Told how deliveries fare. */
export type WebhookTally = {
  readonly tried: (outcome: Try['outcome'], seconds: number) => void
  /** So many tasks have a webhook that is owed an event. */
  readonly pending: (tasks: number) => void
}

/** Counts nothing. */
export const noTally: WebhookTally = { tried: () => {}, pending: () => {} }

const outcomes: readonly Try['outcome'][] = ['delivered', 'retry', 'gone', 'failed']

/** Shows how deliveries fare as metrics. Who delivers counts; what is pending, every process tells alike. */
export const createWebhookTally = (metrics: Metrics): WebhookTally => {
  const deliveries = metrics.counter({
    name: 'comfy_webhook_deliveries_total',
    help: 'Tries to deliver an event, by outcome; failed ones were the last',
    labelNames: ['outcome']
  })
  const seconds = metrics.histogram({
    name: 'comfy_webhook_delivery_seconds',
    help: 'Time of a try to deliver an event',
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60]
  })
  const pending = metrics.gauge({
    name: 'comfy_webhooks_pending',
    help: 'Tasks whose webhook is owed an event'
  })
  for (const outcome of outcomes) deliveries.inc({ outcome }, 0)
  return {
    tried: (outcome, time) => {
      deliveries.inc({ outcome })
      seconds.observe(time)
    },
    pending: tasks => pending.set(tasks)
  }
}
