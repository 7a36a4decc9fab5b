import { createEgress } from '@comfy-balancer/service-kit/egress'
import type { EgressRules } from '@comfy-balancer/service-kit/egress-rules'
import { every } from '@comfy-balancer/service-kit/every'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Connection } from '@comfy-balancer/task-store/connection'
import type { Hints } from '@comfy-balancer/task-store/hints'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import { pausesOf, type WebhookConfig } from './config.ts'
import { createCourier } from './courier.ts'
import { createDeliveryQueue } from './delivery-queue.ts'
import { HostGate } from './host-gate.ts'
import { handOver, type OutboxDeps } from './outbox.ts'
import { noTally, type WebhookTally } from './tally.ts'

export type WebhooksDeps = Pick<OutboxDeps, 'viewOf'> & {
  readonly connection: Connection
  readonly ledger: Ledger
  readonly hints: Hints
  /** Which addresses webhooks may lead to. */
  readonly urlRules: EgressRules
  readonly log: Log
  readonly tally?: WebhookTally
}

/** Hints get lost: the outbox is looked into at least this often. */
const lookMs = 1_000
const countMs = 5_000

/** Delivers webhooks from now on. Any number of processes may; they share the work. Returns how to stop. */
export const startWebhooks = (
  config: WebhookConfig,
  { connection, ledger, hints, urlRules, viewOf, log, tally = noTally }: WebhooksDeps
): (() => Promise<void>) => {
  const totalMs = config.WEBHOOK_TIMEOUT_SECONDS * 1_000
  const egress = createEgress({ ...urlRules, maxBytes: 0, totalMs })
  const gate = new HostGate(config.WEBHOOK_HOST_CONCURRENCY)
  const queue = createDeliveryQueue({
    redis: connection.commands,
    prefix: ledger.prefix,
    concurrency: config.WEBHOOK_CONCURRENCY,
    log,
    work: createCourier(pausesOf(config.WEBHOOK_RETRY_SECONDS), { ledger, egress, gate, log, tally })
  })
  const outbox = every({
    name: 'outbox',
    intervalMs: lookMs,
    jitter: 0.3,
    log,
    run: signal => handOver({ ledger, enqueue: queue.add, viewOf, log }, signal)
  })
  const count = every({
    name: 'webhook count',
    intervalMs: countMs,
    log,
    run: async () => tally.pending(await queue.waiting())
  })
  const stopHint = hints.onOutbox(() => outbox.wake())
  return async () => {
    stopHint()
    await Promise.all([outbox.stop(), count.stop()])
    await queue.close()
    egress.close()
  }
}
