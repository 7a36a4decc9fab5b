import { timingSafeEqual } from 'node:crypto'
import type { Scope } from '@comfy-balancer/contract/scope'
import { digestOfApiKey, idOfApiKey, mintApiKey } from './api-key.ts'
import { redisNowMs } from './redis-time.ts'
import type { StoreDeps } from './store-deps.ts'
import type { Tenants } from './tenants.ts'

/** An API key as the ledger holds it: never the key itself. Instants are Redis milliseconds. */
export type ApiKeyRecord = {
  readonly id: string
  readonly tenant: string
  readonly name: string
  readonly scopes: readonly Scope[]
  readonly createdMs: number
  readonly expiresMs: number | undefined
  readonly lastUsedMs: number | undefined
  readonly revokedMs: number | undefined
}

/** A key about to be made. It never expires without `lifetimeMs`. */
export type NewApiKey = Pick<ApiKeyRecord, 'tenant' | 'name' | 'scopes'> & { readonly lifetimeMs: number | undefined }

/** The only moment at which the key itself is known. */
export type MadeApiKey = { readonly text: string; readonly record: ApiKeyRecord }

/** What a presented key is worth; a valid one for `validMs` more. */
export type ApiKeyVerdict =
  | { readonly kind: 'valid'; readonly record: ApiKeyRecord; readonly validMs: number }
  | { readonly kind: 'malformed' | 'unknown' | 'revoked' | 'expired' }

export type ApiKeys = ReturnType<typeof createApiKeys>

/** Keys that end are still listed for so long. */
const keepEndedMs = 30 * 86_400_000
/** The last use is written this often at most. */
const lastUsedMs = 60_000

/** Making, finding and ending API keys. */
export const createApiKeys = ({ redis, keys }: StoreDeps, tenants: Tenants) => {
  const read = async (id: string): Promise<(ApiKeyRecord & { digest: string }) | undefined> => {
    const hash = await redis.hgetall(keys.apiKey(id))
    return hash.digest === undefined ? undefined : { ...readRecord(id, hash), digest: hash.digest }
  }

  const endAt = (id: string, field: 'expiresMs' | 'revokedMs', atMs: number) =>
    redis
      .multi()
      .hset(keys.apiKey(id), { [field]: atMs })
      .pexpireat(keys.apiKey(id), atMs + keepEndedMs)
      .exec()

  const create = async ({ tenant, name, scopes, lifetimeMs }: NewApiKey): Promise<MadeApiKey> => {
    const { id, text } = mintApiKey()
    const createdMs = await redisNowMs(redis)
    const fields = { digest: digestOfApiKey(text), tenant, name, scopes: scopes.join(','), createdMs }
    await tenants.ensure(tenant)
    await redis.multi().hset(keys.apiKey(id), fields).sadd(keys.apiKeys(), id).exec()
    const expiresMs = lifetimeMs === undefined ? undefined : createdMs + lifetimeMs
    if (expiresMs !== undefined) await endAt(id, 'expiresMs', expiresMs)
    return {
      text,
      record: { id, tenant, name, scopes, createdMs, expiresMs, lastUsedMs: undefined, revokedMs: undefined }
    }
  }

  /** What a key of the ledger is worth now, to whoever has shown that it is theirs. */
  const standingOf = async (record: ApiKeyRecord | undefined): Promise<ApiKeyVerdict> => {
    if (!record) return { kind: 'unknown' }
    if (record.revokedMs !== undefined) return { kind: 'revoked' }
    const nowMs = await redisNowMs(redis)
    const validMs = (record.expiresMs ?? Number.POSITIVE_INFINITY) - nowMs
    if (validMs <= 0) return { kind: 'expired' }
    if (nowMs - (record.lastUsedMs ?? 0) >= lastUsedMs) await redis.hset(keys.apiKey(record.id), { lastUsedMs: nowMs })
    return { kind: 'valid', record, validMs }
  }

  return {
    create,

    /** Judges a presented key. Only who holds the right secret learns that it was revoked or has expired. */
    async judge(text: string): Promise<ApiKeyVerdict> {
      const id = idOfApiKey(text)
      if (id === undefined) return { kind: 'malformed' }
      const record = await read(id)
      return standingOf(record && isSame(record.digest, digestOfApiKey(text)) ? record : undefined)
    },

    /** Judges a key by its id, for somebody who has shown it before. */
    async judgeId(id: string): Promise<ApiKeyVerdict> {
      return standingOf(await read(id))
    },

    /** Every key, also those that ended in the last 30 days; of one tenant when it is named. */
    async list(tenant?: string): Promise<ApiKeyRecord[]> {
      const ids = await redis.smembers(keys.apiKeys())
      const records = await Promise.all(ids.map(read))
      const gone = ids.filter((_, i) => records[i] === undefined)
      if (gone.length > 0) await redis.srem(keys.apiKeys(), ...gone)
      return records
        .flatMap(record => (record && (tenant === undefined || record.tenant === tenant) ? [record] : []))
        .map(({ digest: _, ...record }) => record)
        .sort((a, b) => a.createdMs - b.createdMs)
    },

    /** Ends a key now; false when there is none of this id. */
    async revoke(id: string): Promise<boolean> {
      const record = await read(id)
      if (record && record.revokedMs === undefined) await endAt(id, 'revokedMs', await redisNowMs(redis))
      return record !== undefined
    },

    /** Makes a successor with the same rights and lifetime; the old key is good for `overlapMs` more. Undefined when it is not good any more. */
    async rotate(id: string, overlapMs: number): Promise<MadeApiKey | undefined> {
      const [old, nowMs] = await Promise.all([read(id), redisNowMs(redis)])
      if (!old || old.revokedMs !== undefined || (old.expiresMs ?? Number.POSITIVE_INFINITY) <= nowMs) return undefined
      const lifetimeMs = old.expiresMs === undefined ? undefined : old.expiresMs - old.createdMs
      const made = await create({ tenant: old.tenant, name: old.name, scopes: old.scopes, lifetimeMs })
      await endAt(id, 'expiresMs', Math.min(old.expiresMs ?? Number.POSITIVE_INFINITY, nowMs + overlapMs))
      return made
    }
  }
}

const number = (text: string | undefined): number | undefined => (text ? Number(text) : undefined)

const readRecord = (id: string, hash: Readonly<Record<string, string>>): ApiKeyRecord => ({
  id,
  tenant: hash.tenant ?? '',
  name: hash.name ?? '',
  scopes: (hash.scopes ?? '').split(',') as Scope[],
  createdMs: Number(hash.createdMs),
  expiresMs: number(hash.expiresMs),
  lastUsedMs: number(hash.lastUsedMs),
  revokedMs: number(hash.revokedMs)
})

const isSame = (a: string, b: string): boolean => timingSafeEqual(Buffer.from(a), Buffer.from(b))
