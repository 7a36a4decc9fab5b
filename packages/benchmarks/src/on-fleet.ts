import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Fleet, type FleetOptions, startFleet } from '@comfy-balancer/local/fleet'
import { type ProvidedRedis, provideRedisOrExit } from '@comfy-balancer/local/redis'
import { keep, type Result } from './results.ts'

/** What a fleet's keys begin with. */
export const prefix = `{bench-${process.pid}}:`

/** A comfy-service that has to be killed leaves a ComfyUI of its own behind. */
const stopMs = 60_000

type FleetMore = Omit<FleetOptions, 'redisUrl' | 'folder'>

/** Measures on a fleet of its own, which goes afterwards. */
export const withFleet = async <T>(
  more: FleetMore,
  measure: (fleet: Fleet, redisUrl: string, folder: string) => Promise<T>
): Promise<T> => {
  const redis = await provideRedisOrExit()
  const folder = await mkdtemp(join(tmpdir(), 'comfy-balancer-bench-'))
  const env = { REDIS_KEY_PREFIX: prefix, ...more.env }
  const fleet = await startFleet({ ...more, redisUrl: redis.url, folder, env })
  try {
    return await measure(fleet, redis.url, folder)
  } finally {
    await fleet.stop(stopMs)
    await redis.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

/** The same; prints the result and keeps it. */
export const onFleet = async (more: FleetMore, measure: Parameters<typeof withFleet<Result>>[1]): Promise<void> =>
  keep(await withFleet(more, measure))

/** Measures on a Redis alone; prints the result and keeps it. */
export const onRedis = async (measure: (redis: ProvidedRedis) => Promise<Result>): Promise<void> => {
  const redis = await provideRedisOrExit()
  try {
    keep(await measure(redis))
  } finally {
    await redis.stop()
  }
}
