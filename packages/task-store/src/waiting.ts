import type { Need } from '@comfy-balancer/contract/need'
import { modelsOf } from '@comfy-balancer/domain/capability'
import type { Usual } from '@comfy-balancer/domain/eta'
import type { Candidate, Flow } from '@comfy-balancer/domain/policy'
import type { Learned } from '@comfy-balancer/domain/prediction'
import type { ChainableCommander } from 'ioredis'
import { type NodeRecord, type NodeRow, readNodeRow } from './node-record.ts'
import type { StoreDeps } from './store-deps.ts'
import { together } from './together.ts'

/** A bounded look at what waits, and at the nodes unless nothing waits. `nowMs` is the ledger's time. */
export type Look = {
  readonly nowMs: number
  readonly waiting: number
  readonly flows: ReadonlyMap<string, Flow>
  readonly candidates: readonly Candidate[]
  readonly nodes: readonly NodeRecord[]
}

/** What waits in all. */
export type Backlog = {
  readonly queuedByTenant: Readonly<Record<string, number>>
  readonly delayed: number
  readonly running: number
  readonly finished: Readonly<Record<string, number>>
  /** Failed tasks by the code of their problem. */
  readonly failedByCode: Readonly<Record<string, number>>
  /** How often any node was left alone since the ledger began. */
  readonly nodeQuarantines: number
}

/** The tasks of one tenant that wait with the same need; `foremostMs` is when the first in line was accepted. */
export type WaitingQueue = {
  readonly tenant: string
  readonly need: string
  readonly models: readonly string[]
  readonly waiting: number
  readonly foremostMs: number | undefined
}

export type Waiting = ReturnType<typeof createWaiting>

/** The bounds of one look: 64 tenants, 64 queues (as many again for resident models), 16 tasks by order and 16 by work of each, 512 tasks. */
const lookBounds = [64, 64, 16, 512] as const
/** A summary of what waits reads so many tenants, and queues of each. */
const maxTenants = 256
const maxQueues = 64
/** What operators are shown: queues of so many tenants, and so many of each. */
const shownTenants = 64
const shownQueues = 16
/** Needs are immutable under their digest; so many are kept in memory. */
const maxNeeds = 5_000
/** Before the code of a problem in the counters. */
const failedBy = 'failed:'

/** What dispatch reads: candidates, and what was learned about their needs. */
export const createWaiting = ({ redis, keys, run }: StoreDeps) => {
  const needs = new Map<string, Need>()

  const need = async (digest: string): Promise<Need | undefined> => {
    const known = needs.get(digest)
    if (known) return known
    const text = await redis.get(keys.need(digest))
    if (!text) return undefined
    if (needs.size >= maxNeeds) needs.clear()
    const found: Need = JSON.parse(text)
    needs.set(digest, found)
    return found
  }

  /** Asks one thing of each item, all in one message. */
  const many = async <Item>(
    items: readonly Item[],
    ask: (all: ChainableCommander, item: Item) => unknown
  ): Promise<unknown[]> => {
    if (items.length === 0) return []
    const all = redis.pipeline()
    for (const item of items) ask(all, item)
    return together<unknown[]>(all)
  }

  /** When the foremost waiting task of each tenant was accepted. */
  const oldestByTenant = async (): Promise<ReadonlyMap<string, number>> => {
    const tenants = await redis.zrange(keys.flows(), '0', `${maxTenants - 1}`)
    const created = await Promise.all(
      tenants.map(async tenant => {
        const [need] = await redis.zrange(keys.queues(tenant), '0', '0')
        const [id] = need === undefined ? [] : await redis.zrange(keys.queue(tenant, need), '0', '0')
        return id === undefined ? null : redis.hget(keys.task(id), 'createdMs')
      })
    )
    return new Map(tenants.flatMap((tenant, i) => (created[i] ? [[tenant, Number(created[i])] as const] : [])))
  }

  return {
    need,

    /** Candidates and nodes, given the models that nodes hold. */
    async look(resident: readonly string[]): Promise<Look> {
      const [now, waiting, flowRows, taskRows, nodeRows, seconds] = (await run(
        'candidates',
        ...lookBounds,
        ...resident
      )) as [number, number, string[], string[], NodeRow[], (string | null)[]]
      const flows = new Map(
        chunks(flowRows, 4).map(([tenant, start, overtaken, weight]) => [
          tenant!,
          { start: Number(start), overtaken: Number(overtaken), weight: Number(weight) }
        ])
      )
      const rows = chunks(taskRows, 9)
      const found = await Promise.all(rows.map(row => need(row[2]!)))
      const candidates = rows.flatMap(([id, tenant, needId, order, work, avoid, accepted, stay, vramAbove], i) => {
        const known = found[i]
        if (!known) return []
        return [
          {
            id: id!,
            tenant: tenant!,
            needId: needId!,
            need: known,
            orderMs: Number(order),
            acceptedMs: Number(accepted),
            work: Number(work),
            knownSeconds: seconds[i] ? Number(seconds[i]) : undefined,
            avoid: avoid ? avoid.split(',') : [],
            stay: stay || undefined,
            vramAboveBytes: vramAbove ? Number(vramAbove) : undefined
          }
        ]
      })
      return { nowMs: Number(now), waiting: Number(waiting), flows, candidates, nodes: nodeRows.flatMap(readNodeRow) }
    },

    /** What finished attempts taught about a need. */
    async learned(needId: string): Promise<Learned> {
      const stats = await redis.hgetall(keys.stats(needId))
      return { load: meansOf(stats, 'load'), execution: meansOf(stats, 'execution') }
    },

    /** The same of many needs, in the fleet alone. */
    async usual(needIds: readonly string[]): Promise<ReadonlyMap<string, Usual>> {
      const rows = await many(needIds, (all, id) => all.hmget(keys.stats(id), 'load', 'execution'))
      const number = (text: string | null): number | undefined => (text === null ? undefined : Number(text))
      return new Map(
        needIds.map((id, i) => {
          const [load, execution] = rows[i] as [string | null, string | null]
          return [id, { load: number(load), execution: number(execution) }]
        })
      )
    },

    /** When the task that waits longest was accepted, its priority's head start included; undefined when none waits. */
    async oldestMs(): Promise<number | undefined> {
      const known = [...(await oldestByTenant()).values()]
      return known.length > 0 ? Math.min(...known) : undefined
    },

    oldestByTenant,

    /** How many tasks wait for each model. */
    async byModel(): Promise<Record<string, number>> {
      const counts: Record<string, number> = {}
      const tenants = await redis.zrange(keys.flows(), '0', `${maxTenants - 1}`)
      for (const tenant of tenants) {
        for (const id of await redis.zrange(keys.queues(tenant), '0', `${maxQueues - 1}`)) {
          const [known, count] = await Promise.all([need(id), redis.zcard(keys.queue(tenant, id))])
          for (const model of known ? modelsOf(known) : []) counts[model] = (counts[model] ?? 0) + count
        }
      }
      return counts
    },

    /** What waits, queue by queue, in the order of fairness; bounded. */
    async queues(): Promise<WaitingQueue[]> {
      const tenants = await redis.zrange(keys.flows(), '0', `${shownTenants - 1}`)
      const needIds = (await many(tenants, (all, tenant) =>
        all.zrange(keys.queues(tenant), '0', `${shownQueues - 1}`)
      )) as string[][]
      const queues = tenants.flatMap((tenant, i) => needIds[i]!.map(id => ({ tenant, need: id })))
      const counts = (await many(queues, (all, one) => all.zcard(keys.queue(one.tenant, one.need)))) as number[]
      const heads = (await many(queues, (all, one) =>
        all.zrange(keys.queue(one.tenant, one.need), '0', '0')
      )) as string[][]
      const created = await many(heads, (all, [id]) => all.hget(keys.task(id ?? ''), 'createdMs'))
      const needs = await Promise.all(queues.map(one => need(one.need)))
      return queues.flatMap((queue, i) => {
        const known = needs[i]
        const models = known ? modelsOf(known) : []
        const foremostMs = created[i] ? Number(created[i]) : undefined
        return counts[i] ? [{ ...queue, models, waiting: counts[i], foremostMs }] : []
      })
    },

    async backlog(): Promise<Backlog> {
      const [queued, delayed, running, counters] = await Promise.all([
        redis.hgetall(keys.queued()),
        redis.zcard(keys.delayed()),
        redis.hgetall(keys.running()),
        redis.hgetall(keys.counters())
      ])
      const { lastSweepMs: _, guardedMs: __, memoryFull: ___, nodeQuarantines, ...ended } = counters
      const isByCode = (name: string) => name.startsWith(failedBy)
      return {
        queuedByTenant: numbers(queued),
        delayed,
        running: Object.values(running).reduce((sum, count) => sum + Number(count), 0),
        finished: numbers(ended, name => !isByCode(name)),
        failedByCode: numbers(ended, isByCode, name => name.slice(failedBy.length)),
        nodeQuarantines: Number(nodeQuarantines ?? 0)
      }
    }
  }
}

const numbers = (
  hash: Readonly<Record<string, string>>,
  isWanted: (name: string) => boolean = () => true,
  nameOf = (name: string): string => name
): Record<string, number> =>
  Object.fromEntries(
    Object.entries(hash).flatMap(([name, value]) => (isWanted(name) ? [[nameOf(name), Number(value)]] : []))
  )

const chunks = (row: readonly string[], size: number): string[][] =>
  Array.from({ length: Math.floor(row.length / size) }, (_, i) => row.slice(i * size, (i + 1) * size))

const meansOf = (stats: Readonly<Record<string, string>>, name: string): Learned['load'] => ({
  fleet: stats[name] === undefined ? undefined : Number(stats[name]),
  byNode: new Map(
    Object.entries(stats)
      .filter(([field]) => field.startsWith(`${name}:`))
      .map(([field, value]) => [field.slice(name.length + 1), Number(value)])
  )
})
