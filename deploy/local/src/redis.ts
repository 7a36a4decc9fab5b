import { Redis } from 'ioredis'
import { findOnPath, installHint, installRedis } from './redis-install.ts'
import { startRedisServer } from './redis-server.ts'
import { say } from './say.ts'

/** A Redis to work with; `stop` ends it if it is ours and leaves it alone otherwise. */
export type ProvidedRedis = {
  readonly url: string
  readonly version: string
  /** Where it comes from, for people. */
  readonly origin: string
  readonly stop: () => Promise<void>
}

/**
 * Finds or starts a Redis of version 7 or later: `REDIS_URL`, else `redis-server` or `valkey-server` on PATH, else on Debian as root it installs
 * the package. With `keep` the data stays in `.local/redis` for the next start, else it goes when we stop. Throws with the line to type otherwise.
 */
export const provideRedis = async ({ keep = false } = {}): Promise<ProvidedRedis> => {
  const given = process.env.REDIS_URL
  if (given) {
    return { url: given, version: await checkVersion(given), origin: 'REDIS_URL', stop: async () => undefined }
  }
  const command = findOnPath('redis-server', 'valkey-server') ?? (await installRedis())
  if (!command) {
    throw new Error(`A Redis server (7 or later) is needed. On this system:\n\n  ${installHint()}\n\nor set REDIS_URL.`)
  }
  const server = await startRedisServer(command, keep)
  try {
    return { ...server, version: await checkVersion(server.url), origin: command }
  } catch (error) {
    await server.stop()
    throw error
  }
}

/** `provideRedis` for a program: prints why there is none and exits. */
export const provideRedisOrExit = async (options: { keep?: boolean } = {}): Promise<ProvidedRedis> => {
  try {
    return await provideRedis(options)
  } catch (error) {
    say(error instanceof Error ? error.message : String(error))
    process.exit(1)
  }
}

const leastMajor = 7
const answerWithinMs = 5_000

const checkVersion = async (url: string): Promise<string> => {
  const info = await readInfo(url)
  const version = /^redis_version:(.+)$/m.exec(info)?.[1]?.trim() ?? 'unknown'
  const name = /^server_name:valkey/m.test(info) ? 'Valkey, as Redis' : 'Redis'
  if (Number.parseInt(version, 10) >= leastMajor) return version
  throw new Error(`This is ${name} ${version}; comfy-balancer needs Redis 7 or later (or any Valkey).`)
}

const readInfo = async (url: string): Promise<string> => {
  const redis = connectOnce(url)
  try {
    await redis.connect()
    return await redis.info('server')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new Error(`REDIS_URL does not answer: ${why} (is the password percent-encoded, # as %23?)`)
  } finally {
    redis.disconnect()
  }
}

const connectOnce = (url: string): Redis => {
  try {
    const redis = new Redis(url, {
      lazyConnect: true,
      connectTimeout: answerWithinMs,
      commandTimeout: answerWithinMs,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null
    })
    redis.on('error', () => undefined)
    return redis
  } catch {
    throw new Error('REDIS_URL is not a valid URL: percent-encode the password (# is %23).')
  }
}
