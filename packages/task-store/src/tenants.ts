import type { Tenant, TenantLimits } from '@comfy-balancer/contract/tenant'
import { redisNowMs } from './redis-time.ts'
import type { StoreDeps } from './store-deps.ts'
import type { Left } from './tasks.ts'

export type Tenants = ReturnType<typeof createTenants>

/** What a tenant may use from its first key on, until an operator says otherwise. */
export const firstLimits: TenantLimits = { requestsPerMinute: 600, generationsPerHour: 50, maxQueued: 1_000, weight: 1 }

const hourMs = 3_600_000
const dayMs = 24 * hourMs

/** What tenants may use and do use. A tenant that was never set up has no limit and weight 1. */
export const createTenants = ({ redis, keys, run }: StoreDeps) => ({
  /** A tenant's limits and use; undefined when it was never set up. */
  async find(name: string): Promise<Tenant | undefined> {
    const nowMs = await redisNowMs(redis)
    const [limits, queued, running, generations, spent, inputBytes] = await Promise.all([
      redis.hgetall(keys.tenant(name)),
      redis.hget(keys.queued(), name),
      redis.hget(keys.running(), name),
      redis.zcount(keys.generated(name), nowMs - hourMs + 1, '+inf'),
      redis.get(keys.spent(name, String(Math.floor(nowMs / dayMs)))),
      redis.hget(keys.inputBytes(), name)
    ])
    if (limits.weight === undefined) return undefined
    return {
      name,
      limits: Object.fromEntries(Object.entries(limits).map(([limit, value]) => [limit, Number(value)])),
      usage: {
        queued: Number(queued ?? 0),
        running: Number(running ?? 0),
        generationsLastHour: generations,
        gpuSecondsToday: Number(spent ?? 0),
        inputBytes: Number(inputBytes ?? 0)
      }
    }
  },

  /** Replaces all limits of a tenant; those left out hold no longer, and the request rate begins anew. */
  async setLimits(name: string, limits: TenantLimits): Promise<void> {
    const key = keys.tenant(name)
    await redis
      .multi()
      .del(key, keys.rate(name))
      .hset(key, { weight: 1, ...limits })
      .publish(keys.wakeDispatch(), name)
      .exec()
  },

  /** Sets up a tenant with `firstLimits` unless it has been set up before. */
  async ensure(name: string): Promise<void> {
    const key = keys.tenant(name)
    if ((await redis.exists(key)) === 0) await redis.hset(key, firstLimits)
  },

  /** Counts a request against its tenant's rate; undefined where no such limit holds. */
  async meter(name: string): Promise<(Left & { readonly allowed: boolean }) | undefined> {
    const [allowed, limit, left, backMs] = (await run('meter', name)) as [number?, number?, number?, number?]
    if (limit === undefined) return undefined
    return { allowed: allowed === 1, limit, left: left ?? 0, backMs: backMs ?? 0 }
  }
})
