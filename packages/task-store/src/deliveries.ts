import type { TaskEvent } from '@comfy-balancer/contract/event'
import type { DeliveryState, WebhookEvent } from '@comfy-balancer/contract/webhook'
import { type JournalEntry, readEvent } from './journal-entry.ts'
import type { StoreDeps } from './store-deps.ts'

/** What the scripts left for delivery: an event that a webhook waits for, or a task whose owed events are due again. */
export type OutboxEntry = { readonly text: string } & (
  | { readonly kind: 'event'; readonly event: TaskEvent; readonly tenant: string; readonly url: string }
  | { readonly kind: 'again'; readonly task: string }
)

/** An event that is about to be owed to a webhook. */
export type NewDelivery = Pick<Delivery, 'task' | 'version' | 'tenant' | 'url' | 'type' | 'body'>

/** One event for one webhook, by task and version. Instants are Redis milliseconds. */
export type Delivery = {
  readonly id: string
  readonly task: string
  readonly version: number
  readonly tenant: string
  readonly url: string
  readonly type: WebhookEvent
  readonly body: string
  readonly state: DeliveryState
  readonly tries: number
  readonly createdMs: number
  /** Since when it has been owed: its creation, or the latest request to deliver it again. */
  readonly owedMs: number
  readonly triedMs: number | undefined
  readonly nextMs: number | undefined
  readonly status: number | undefined
  readonly error: string | undefined
}

/** What one try came to. `gone`: the webhook wants nothing more of this task. */
export type Try = {
  readonly outcome: 'delivered' | 'retry' | 'failed' | 'gone'
  readonly status?: number | undefined
  readonly error?: string | undefined
  readonly pauseMs?: number
}

/** Which deliveries to list: a tenant's, or those of one of its tasks, from the one before the given id on. */
export type DeliveryRange = { readonly task?: string | undefined; readonly before?: string | undefined }

export type Deliveries = ReturnType<typeof createDeliveries>

const digits = 9
const memberOf = (id: string): string => {
  const [task, version] = id.split('-') as [string, string]
  return `${task}-${version.padStart(digits, '0')}`
}
const idOf = (member: string): string => member.replace(/-0*(?=\d)/, '-')

/** Events on their way to webhooks: the outbox that the scripts fill, and what became of each event. */
export const createDeliveries = ({ redis, keys, run }: StoreDeps) => {
  const read = async (id: string): Promise<Delivery | undefined> =>
    readDelivery(id, await redis.hgetall(keys.delivery(id)))

  return {
    /** The oldest entries of the outbox. They stay there until they are removed. */
    async outbox(limit: number): Promise<OutboxEntry[]> {
      return (await redis.lrange(keys.outbox(), 0, limit - 1)).map(readOutboxEntry)
    },

    async removeFromOutbox(entry: OutboxEntry): Promise<void> {
      await redis.lrem(keys.outbox(), 1, entry.text)
    },

    /** Records an event as owed to its webhook; nothing happens when it was recorded before. */
    async owe({ task, version, tenant, url, type, body }: NewDelivery): Promise<'owed' | 'known'> {
      return (await run('deliver', task, version, tenant, url, type, body)) as 'owed' | 'known'
    },

    /** The first event that a task's webhook is owed, and in how many ms it is due. */
    async next(task: string): Promise<{ delivery: Delivery; dueInMs: number } | undefined> {
      for (;;) {
        const [version] = await redis.zrange(keys.undelivered(task), '0', '0')
        if (version === undefined) return undefined
        const [delivery, [seconds, micros]] = await Promise.all([read(`${task}-${version}`), redis.time()])
        const nowMs = Number(seconds) * 1_000 + Number(micros) / 1_000
        if (delivery) return { delivery, dueInMs: Math.max(0, (delivery.nextMs ?? 0) - nowMs) }
        await redis.zrem(keys.undelivered(task), version)
      }
    },

    /** Records what one try came to. */
    async tried({ task, version }: Delivery, { outcome, status, error, pauseMs = 0 }: Try): Promise<void> {
      await run('delivered', task, version, outcome, status ?? '', error ?? '', Math.round(pauseMs))
    },

    /** One of a tenant's deliveries. */
    async find(id: string, tenant: string): Promise<Delivery | undefined> {
      const found = await read(id)
      return found?.tenant === tenant ? found : undefined
    },

    /** Ids of deliveries, those of the newest task first and of each task the latest first. */
    async list(tenant: string, { task, before }: DeliveryRange, limit: number): Promise<string[]> {
      const from = before === undefined ? (task === undefined ? '+' : `(${task}.`) : `(${memberOf(before)}`
      const to = task === undefined ? '-' : `[${task}-`
      const members = await redis.zrange(keys.deliveries(tenant), from, to, 'BYLEX', 'REV', 'LIMIT', '0', limit)
      return members.map(idOf)
    },

    /** Owes an event again, and makes everything due that the task's webhook is owed. */
    async redeliver({ task, version, tenant }: Delivery): Promise<'owed' | 'not-found'> {
      return (await run('redeliver', task, version, tenant)) as 'owed' | 'not-found'
    }
  }
}

const readOutboxEntry = (text: string): OutboxEntry => {
  const entry = JSON.parse(text) as { again: string } | { event: JournalEntry; tenant: string; url: string }
  if ('again' in entry) return { text, kind: 'again', task: entry.again }
  return { text, kind: 'event', event: readEvent(entry.event), tenant: entry.tenant, url: entry.url }
}

const number = (text: string | undefined): number | undefined => (text ? Number(text) : undefined)

const readDelivery = (id: string, hash: Readonly<Record<string, string>>): Delivery | undefined => {
  if (!hash.state) return undefined
  return {
    id,
    task: hash.task ?? '',
    version: Number(hash.version),
    tenant: hash.tenant ?? '',
    url: hash.url ?? '',
    type: hash.type as WebhookEvent,
    body: hash.body ?? '',
    state: hash.state as DeliveryState,
    tries: Number(hash.tries),
    createdMs: Number(hash.createdMs),
    owedMs: Number(hash.owedMs),
    triedMs: number(hash.triedMs),
    nextMs: number(hash.nextMs),
    status: number(hash.status),
    error: hash.error || undefined
  }
}
