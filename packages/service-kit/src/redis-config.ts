import { readFileSync } from 'node:fs'
import { type Static, type TObject, Type } from '@sinclair/typebox'
import { ConfigError, type ConfigFault, type ConfigRule, filePath, hostString, secretString } from './config.ts'

/** The variables that say where Redis is; spread them into a service's schema and pass `redisRule` to `readConfig`. */
export const redisConfig = {
  REDIS_URL: Type.Optional(secretString({ description: 'redis[s]://[username[:password]@]host[:port][/db]' })),
  REDIS_HOST: Type.Optional(hostString({ description: 'Default 127.0.0.1' })),
  REDIS_PORT: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535, description: 'Default 6379' })),
  REDIS_USERNAME: Type.Optional(
    Type.String({
      pattern: '^\\S+$',
      rule: 'must be a name without spaces',
      description: 'ACL user; absent: the default user'
    })
  ),
  REDIS_PASSWORD: Type.Optional(secretString({ description: 'May hold any character; nothing is decoded' })),
  REDIS_DB: Type.Optional(Type.Integer({ minimum: 0, maximum: 65_535, description: 'Default 0' })),
  REDIS_TLS: Type.Boolean({
    default: false,
    description: 'Whether to speak TLS; `rediss://` and REDIS_TLS_CA_FILE say so too'
  }),
  REDIS_TLS_CA_FILE: Type.Optional(filePath({ description: 'PEM file of the authority that signed the server' })),
  REDIS_KEY_PREFIX: Type.String({
    default: '{cb}:',
    pattern: '^[^{}\\s]*\\{[^{}\\s]+\\}[^{}\\s]*:$',
    rule: 'must contain one hash tag such as {cb} and end in a colon, so that every key lives in one cluster slot',
    description: 'Before every key: one ledger for each prefix'
  })
}

/** Where Redis is, as configured. */
export type RedisConfig = Static<TObject<typeof redisConfig>>

/** What a Redis client needs to connect; it has the form of ioredis options. */
export type RedisOptions = {
  host: string
  port: number
  db: number
  username?: string
  password?: string
  tls?: { ca?: string }
}

const separate = ['REDIS_HOST', 'REDIS_PORT', 'REDIS_USERNAME', 'REDIS_PASSWORD', 'REDIS_DB'] as const
const notAUrl =
  'is not a valid redis:// URL: percent-encode the password (# is %23, / is %2F, ? is %3F, % is %25) or use REDIS_PASSWORD (the value given is not printed)'

/** Refuses a `REDIS_URL` that does not parse, and one that stands beside variables that say the same. */
export const redisRule: ConfigRule<RedisConfig> = values => {
  if (values.REDIS_URL === undefined) return []
  const doubled = separate.filter(name => values[name] !== undefined)
  const faults: ConfigFault[] = doubled.map(name => ({
    name,
    message: 'is set together with REDIS_URL; use one or the other'
  }))
  if (parseUrl(values.REDIS_URL) === undefined) faults.push({ name: 'REDIS_URL', message: notAUrl })
  return faults
}

/** The connection options for a Redis client. Throws ConfigError when the URL does not parse or the CA file cannot be read. */
export const redisOptions = (config: RedisConfig): RedisOptions => {
  const faults = redisRule(config)
  if (faults.length > 0) throw new ConfigError(faults)
  const parsed = config.REDIS_URL === undefined ? separateOptions(config) : parseUrl(config.REDIS_URL)!
  const wantsTls = config.REDIS_TLS || config.REDIS_TLS_CA_FILE !== undefined || parsed.tls !== undefined
  return wantsTls ? { ...parsed, tls: readCa(config.REDIS_TLS_CA_FILE) } : parsed
}

const separateOptions = (config: RedisConfig): RedisOptions => ({
  host: config.REDIS_HOST ?? '127.0.0.1',
  port: config.REDIS_PORT ?? 6379,
  db: config.REDIS_DB ?? 0,
  ...(config.REDIS_USERNAME !== undefined && { username: config.REDIS_USERNAME }),
  ...(config.REDIS_PASSWORD !== undefined && { password: config.REDIS_PASSWORD })
})

const parseUrl = (text: string): RedisOptions | undefined => {
  try {
    const url = new URL(text)
    const db = url.pathname === '' || url.pathname === '/' ? '0' : url.pathname.slice(1)
    const isPlain = url.hostname !== '' && url.hash === '' && url.search === '' && /^\d{1,5}$/.test(db)
    if (!isPlain || (url.protocol !== 'redis:' && url.protocol !== 'rediss:')) return undefined
    return {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port === '' ? 6379 : Number(url.port),
      db: Number(db),
      ...(url.username !== '' && { username: decodeURIComponent(url.username) }),
      ...(url.password !== '' && { password: decodeURIComponent(url.password) }),
      ...(url.protocol === 'rediss:' && { tls: {} })
    }
  } catch {
    return undefined
  }
}

const readCa = (path: string | undefined): { ca?: string } => {
  if (path === undefined) return {}
  try {
    return { ca: readFileSync(path, 'utf8') }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new ConfigError([{ name: 'REDIS_TLS_CA_FILE', message: `names a file that cannot be read (${code})` }])
  }
}
