import { redisNowMs } from './redis-time.ts'
import type { StoreDeps } from './store-deps.ts'

/** An uploaded file of a tenant: where its bytes are in the store, and until when it is kept (Redis milliseconds). */
export type InputRecord = {
  readonly id: string
  readonly sha256: string
  readonly path: string
  readonly bytes: number
  readonly mediaType: string
  readonly expiresMs: number
}

/** A file that was put into the store. */
export type StoredInput = Pick<InputRecord, 'sha256' | 'path' | 'bytes' | 'mediaType'>

/** A tenant keeps as many bytes as it may; some of them may be forgotten after so many ms. */
export type OverInputQuota = {
  readonly kind: 'over-quota'
  readonly keptBytes: number
  readonly mostBytes: number
  readonly againMs: number
}

export type Inputs = ReturnType<typeof createInputs>

/** A replaced file may be read for so long: an attempt may just have looked up its path. */
const readableMs = 600_000
const maxForgotten = 256
const maxLooked = 1_000

const idOf = (sha256: string): string => `input_${sha256}`
const digestOf = (id: string): string => id.replace(/^input_/, '')

/** Uploaded files by content. The ledger knows where they are and how long they are kept; their bytes are in the store. */
export const createInputs = ({ redis, keys, run }: StoreDeps) => {
  const keep = async (tenant: string, sha256: string, keepMs: number, file?: StoredInput) => {
    const described = [file?.path ?? '', file?.bytes ?? 0, file?.mediaType ?? '', readableMs] as const
    return (await run('keep-input', tenant, sha256, keepMs, ...described)) as string[]
  }

  /** When the next of a tenant's files may be forgotten, as far as the first to go of all tenants tell. */
  const nextExpiry = async (tenant: string): Promise<number> => {
    const nowMs = await redisNowMs(redis)
    const first = await redis.zrange(keys.inputs(), '0', String(maxLooked - 1), 'WITHSCORES')
    const at = first.findIndex((member, index) => index % 2 === 0 && member.startsWith(`${tenant}:`))
    return Math.max(0, Number(first.at(at < 0 ? -1 : at + 1) ?? nowMs) - nowMs)
  }
  return {
    /** Makes a stored file known, or its newest copy where the same bytes are known already. */
    async add(tenant: string, file: StoredInput, keepMs: number): Promise<InputRecord | OverInputQuota> {
      const row = await keep(tenant, file.sha256, keepMs, file)
      if (row[0] !== 'over-quota') return recordOf(file.sha256, row)!
      const [, kept, most] = row
      const againMs = await nextExpiry(tenant)
      return { kind: 'over-quota', keptBytes: Number(kept), mostBytes: Number(most), againMs }
    },

    /** Keeps a file for at least so long from now; undefined when this tenant has none of that id. */
    async use(tenant: string, id: string, keepMs: number): Promise<InputRecord | undefined> {
      const sha256 = digestOf(id)
      return recordOf(sha256, await keep(tenant, sha256, keepMs))
    },

    async find(tenant: string, id: string): Promise<InputRecord | undefined> {
      const sha256 = digestOf(id)
      const [[path, bytes, mediaType], expires] = await Promise.all([
        redis.hmget(keys.input(tenant, sha256), 'path', 'bytes', 'mediaType'),
        redis.zscore(keys.inputs(), `${tenant}:${sha256}`)
      ])
      return path && expires ? recordOf(sha256, [path, bytes ?? '0', mediaType ?? '', expires]) : undefined
    },

    /** Forgets what has expired and tells which paths to remove from the store; those not reported removed are told again. */
    async forget(): Promise<string[]> {
      return (await run('forget-inputs', maxForgotten)) as string[]
    },

    async removed(paths: readonly string[]): Promise<void> {
      if (paths.length > 0) await redis.zrem(keys.waste(), ...paths)
    }
  }
}

const recordOf = (sha256: string, [path, bytes, mediaType, expires]: readonly string[]): InputRecord | undefined =>
  path === undefined
    ? undefined
    : { id: idOf(sha256), sha256, path, bytes: Number(bytes), mediaType: mediaType ?? '', expiresMs: Number(expires) }
