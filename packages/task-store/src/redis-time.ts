import type { Redis } from 'ioredis'

/** The ledger's time: what Redis takes for now, in ms. */
export const redisNowMs = async (redis: Redis): Promise<number> => {
  const [seconds, micros] = await redis.time()
  return Number(seconds) * 1000 + Math.floor(Number(micros) / 1000)
}
