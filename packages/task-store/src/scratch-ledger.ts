import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { createLedger, type Ledger } from './ledger.ts'
import { defaultLimits, type Limits } from './limits.ts'

/** A ledger under a prefix of its own, for tests: its client, and a `close` that removes every key it left. */
export type ScratchLedger = { readonly ledger: Ledger; readonly redis: Redis; readonly close: () => Promise<void> }

/** Opens one on REDIS_URL, which `npm test` provides. Throws without it. */
export const openScratchLedger = (limits: Partial<Limits> = {}): ScratchLedger => {
  const url = process.env.REDIS_URL
  if (!url) throw new Error('REDIS_URL is not set: run the tests with `npm test`')
  const redis = new Redis(url, { commandTimeout: 5_000 })
  const prefix = `{test-${randomBytes(6).toString('hex')}}:`
  const ledger = createLedger(redis, prefix, { ...defaultLimits, ...limits })
  const close = async () => {
    const keys = await redis.keys(`${prefix}*`)
    if (keys.length > 0) await redis.del(...keys)
    redis.disconnect()
  }
  return { ledger, redis, close }
}
