import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { isAllowedOrigin, type LoraSource, readLoraSource } from '@comfy-balancer/domain/lora-source'
import type { ObjectStore } from '@comfy-balancer/storage/object-store'
import type { Inputs } from '@comfy-balancer/task-store/inputs'
import { InputUnavailable } from '../inputs/input-unavailable.ts'

type Reader = Pick<ObjectStore, 'stat' | 'open'>

export type LoraOriginDeps = {
  readonly uploads: Pick<Inputs, 'find'>
  readonly store: Reader
  /** A bucket by its name; absent where no S3 is configured. */
  readonly bucketOf?: (bucket: string) => Reader
  /** What may be read from S3; see `isAllowedOrigin`. */
  readonly s3Prefixes: readonly string[]
}

/** The present version of a LoRA's bytes: `identity` names it, `sha256` is known of uploads. */
export type LoraOrigin = {
  readonly identity: string
  readonly bytes: number
  readonly sha256: string | undefined
  readonly open: () => Promise<Readable>
}

/** Finds where a LoRA is. Throws InputUnavailable. */
export type FindLora = (source: string, tenant: string) => Promise<LoraOrigin>

/** The folder of the store for LoRAs that every tenant may use. */
const folder = 'loras'

export const createFindLora = ({ uploads, store, bucketOf, s3Prefixes }: LoraOriginDeps): FindLora => {
  const inStore = async (reader: Reader, path: string, text: string): Promise<LoraOrigin> => {
    const found = await reader.stat(path)
    if (!found) throw new InputUnavailable('missing', `there is no ${text}`)
    const identity = identityOf(text, found.bytes, found.modifiedMs)
    return { identity, bytes: found.bytes, sha256: undefined, open: () => openOf(reader, path, text) }
  }

  const uploaded = async (id: string, tenant: string): Promise<LoraOrigin> => {
    const record = await uploads.find(tenant, id)
    if (!record) throw new InputUnavailable('missing', `there is no upload ${id} any more`)
    const { sha256, bytes, path } = record
    return { identity: identityOf(id), bytes, sha256, open: () => openOf(store, path, id) }
  }

  const find = async (source: LoraSource, text: string, tenant: string): Promise<LoraOrigin> => {
    if (source.kind === 'upload') return uploaded(source.id, tenant)
    if (source.kind === 'store') return inStore(store, `${folder}/${source.path}`, text)
    if (!bucketOf) throw new InputUnavailable('blocked', 'this node has no S3 to read from')
    return inStore(bucketOf(source.bucket), source.key, text)
  }

  return async (text, tenant) => {
    const source = readLoraSource(text)
    if (!source || !isAllowedOrigin(source, tenant, s3Prefixes)) {
      throw new InputUnavailable('blocked', `${text} may not be read`)
    }
    try {
      return await find(source, text, tenant)
    } catch (cause) {
      if (cause instanceof InputUnavailable) throw cause
      throw new InputUnavailable('unreachable', `${text} cannot be read now`, { cause })
    }
  }
}

const identityOf = (...parts: readonly (string | number)[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32)

const openOf = async (reader: Reader, path: string, text: string): Promise<Readable> => {
  const found = await reader.open(path)
  if (!found) throw new InputUnavailable('missing', `there is no ${text} any more`)
  return found.stream
}
