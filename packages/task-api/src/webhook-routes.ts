import { listWebhookDeliveries, putWebhookSecret, redeliverWebhook } from '@comfy-balancer/contract/endpoints/webhooks'
import type { WebhookDelivery } from '@comfy-balancer/contract/webhook'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import type { Delivery } from '@comfy-balancer/task-store/deliveries'
import { deliveryCursor } from './cursor.ts'
import type { TaskApiDeps } from './deps.ts'
import { fromLedger } from './ledger-errors.ts'

/** Adds what is told about webhooks, and their secret. */
export const webhookRoutes = (app: App, deps: TaskApiDeps): void => {
  const { deliveries, webhookSecrets } = deps.ledger

  route(app, listWebhookDeliveries, async request => {
    const { task, state, limit = 50, cursor } = request.query
    const before = cursor === undefined ? undefined : deliveryCursor.read(cursor)
    return fromLedger(listPage(deps, { tenant: request.caller.tenant, task, state, limit, before }))
  })

  route(app, redeliverWebhook, async request => {
    const { id } = request.params
    const { tenant } = request.caller
    const found = await fromLedger(deliveries.find(id, tenant))
    const answer = found && (await fromLedger(deliveries.redeliver(found)))
    const now = answer === 'owed' ? await fromLedger(deliveries.find(id, tenant)) : undefined
    if (!now) throw new Refusal('not-found', `There is no delivery ${id}`)
    request.log.info({ taskId: now.task, version: now.version }, 'webhook asked for again')
    return viewDelivery(now)
  })

  route(app, putWebhookSecret, async request => {
    const { secret, overlapSeconds = 86_400 } = request.body
    const [current, former] = await fromLedger(
      webhookSecrets.rotate(request.caller.tenant, secret, overlapSeconds * 1_000)
    )
    const until = former?.untilMs
    return { secret: current.secret, formerValidUntil: until === undefined ? null : new Date(until).toISOString() }
  })
}

/** A filtered page may need several reads; so many at most, then the cursor goes on from there. */
const maxReads = 20

type Page = {
  readonly tenant: string
  readonly task: string | undefined
  readonly state: string | undefined
  readonly limit: number
  readonly before: string | undefined
}

const listPage = async ({ ledger: { deliveries } }: TaskApiDeps, { tenant, task, state, limit, before }: Page) => {
  const data: WebhookDelivery[] = []
  let last = before
  let isMore = true
  for (let i = 0; i < maxReads && isMore && data.length < limit; i++) {
    const ids = await deliveries.list(tenant, { task, before: last }, limit)
    const found = await Promise.all(ids.map(id => deliveries.find(id, tenant)))
    isMore = ids.length === limit
    for (const [index, delivery] of found.entries()) {
      last = ids[index]
      if (delivery && (state === undefined || delivery.state === state)) data.push(viewDelivery(delivery))
      if (data.length === limit) break
    }
  }
  return { data, nextCursor: isMore || data.length === limit ? deliveryCursor.write(last) : null }
}

const instant = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString())

const viewDelivery = (delivery: Delivery): WebhookDelivery => {
  const { id, task, version, type, url, state, tries, createdMs, triedMs, nextMs, status, error } = delivery
  return {
    ...{ id, task, version, type, url, state, tries },
    createdAt: instant(createdMs)!,
    triedAt: instant(triedMs),
    nextTryAt: instant(nextMs),
    status: status ?? null,
    error: error ?? null
  }
}
