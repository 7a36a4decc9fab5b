import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { createLedger, type Ledger } from './ledger.ts'
import { defaultLimits, type Limits } from './limits.ts'

/** A ledger under a prefix of its own, for tests: its client, `clear` that removes every key it left, and `close` that does so at the end. */
export type ScratchLedger = {
  readonly ledger: Ledger
  readonly redis: Redis
  readonly clear: () => Promise<void>
  readonly close: () => Promise<void>
}

/** A ledger whose time stands still until it is set. */
export type HeldLedger = ScratchLedger & { readonly setTime: (nowMs: number) => Promise<void> }

const redisUrl = (): string => {
  const url = process.env.REDIS_URL
  if (!url) throw new Error('REDIS_URL is not set: run the tests with `npm test`')
  return url
}

const aPrefix = (): string => `{test-${randomBytes(6).toString('hex')}}:`

const openScratch = (url: string, prefix: string, limits: Limits): ScratchLedger => {
  const redis = new Redis(url, { commandTimeout: 5_000 })
  const ledger = createLedger(redis, prefix, limits)
  const clear = async () => {
    const keys = await redis.keys(`${prefix}*`)
    if (keys.length > 0) await redis.del(...keys)
  }
  const close = async () => {
    await clear()
    redis.disconnect()
  }
  return { ledger, redis, clear, close }
}

/** Opens one on REDIS_URL, which `npm test` provides. Throws without it. */
export const openScratchLedger = (limits: Partial<Limits> = {}): ScratchLedger =>
  openScratch(redisUrl(), aPrefix(), { ...defaultLimits, ...limits })

/** Opens one, on REDIS_URL or the given server, whose scripts read the time from a key: `setTime` comes before the first of them. */
export const openHeldLedger = (limits: Partial<Limits> = {}, url = redisUrl()): HeldLedger => {
  const prefix = aPrefix()
  const clockKey = `${prefix}clock`
  const scratch = openScratch(url, prefix, { ...defaultLimits, ...limits, clockKey })
  const setTime = async (nowMs: number) => void (await scratch.redis.set(clockKey, nowMs))
  return { ...scratch, setTime }
}
