import { Redis, type RedisOptions } from 'ioredis'
import { BatchingRedis } from './batching-redis.ts'

/** Two connections to one Redis: one for commands, one that listens. */
export type Connection = {
  readonly commands: Redis
  readonly subscriber: Redis
  /** Drops the connection for commands and opens it anew; what was not answered is sent again. */
  readonly reconnect: () => void
  readonly close: () => Promise<void>
}

/** Where `connect` tells of trouble. */
type Log = { warn: (fields: object, message: string) => void; info: (fields: object, message: string) => void }

/** A connection that leaves something unanswered for so long is dead, though nobody closed it: it is dropped and opened anew. */
const silentMs = 5_000

/** Redis is there but not as the ledger needs it. */
export class RedisUnsuitable extends Error {
  readonly code = 'redis-unsuitable'
}

/**
 * Connects and checks the server (≥ 7, noeviction). Commands fail after 2 s without an answer and are sent again after a reconnect, which
 * the scripts allow for. Rejects with RedisUnsuitable, or when Redis does not answer within `readyMs`.
 */
export const connect = async (options: RedisOptions, log: Log, readyMs = 10_000): Promise<Connection> => {
  const retryStrategy = (times: number) => Math.min(50 * times, 1_000)
  const common: RedisOptions = {
    ...options,
    retryStrategy,
    enableReadyCheck: true,
    maxRetriesPerRequest: null,
    socketTimeout: silentMs
  }
  const commands = new BatchingRedis({ ...common, commandTimeout: 2_000, connectionName: 'ledger' })
  const subscriber = new Redis({ ...common, connectionName: 'ledger-hints' })
  const signOfLife = setInterval(() => subscriber.ping().catch(() => {}), silentMs).unref()
  const close = async () => {
    clearInterval(signOfLife)
    commands.disconnect()
    subscriber.disconnect()
  }
  for (const client of [commands, subscriber]) reportTrouble(client, log)
  try {
    await ready(commands, readyMs)
    await checkServer(commands, log)
    await ready(subscriber, readyMs)
  } catch (error) {
    await close()
    throw error
  }
  return { commands, subscriber, reconnect: () => commands.disconnect(true), close }
}

const reportTrouble = (client: Redis, log: Log): void => {
  let down = false
  client.on('error', err => {
    if (!down) log.warn({ err }, 'redis unreachable')
    down = true
  })
  client.on('ready', () => {
    if (down) log.info({}, 'redis reachable again')
    down = false
  })
}

const ready = (client: Redis, readyMs: number): Promise<void> => {
  if (client.status === 'ready') return Promise.resolve()
  return new Promise((resolve, reject) => {
    let last: Error | undefined
    client.on('error', error => {
      last = error
    })
    const timer = setTimeout(
      () => reject(new Error(`redis did not answer within ${readyMs} ms: ${last?.message ?? 'no error seen'}`)),
      readyMs
    )
    client.once('ready', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}

const checkServer = async (client: Redis, log: Log): Promise<void> => {
  const info = await client.info()
  const fault = serverFault(info)
  if (fault) throw new RedisUnsuitable(fault)
  if (infoValue(info, 'aof_enabled') !== '1') {
    log.warn({}, 'redis runs without an append-only file: accepted tasks do not survive its restart')
  }
}

const infoValue = (info: string, name: string): string | undefined =>
  new RegExp(`^${name}:(.*)$`, 'm').exec(info)?.[1]?.trim()

/** Why a server cannot hold the ledger, from its INFO; undefined when it can. */
export const serverFault = (info: string): string | undefined => {
  const version = infoValue(info, 'redis_version') ?? '0'
  if (Number.parseInt(version, 10) < 7) return `redis ${version} is too old: the ledger needs 7 or newer`
  const policy = infoValue(info, 'maxmemory_policy')
  if (policy === 'noeviction') return undefined
  return `redis runs with maxmemory-policy ${policy}: it could drop accepted tasks; set it to noeviction`
}
