import type { Readable } from 'node:stream'
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  S3Client
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { meterBody } from './metered-body.ts'
import {
  type ByteRange,
  type ObjectBody,
  type ObjectStore,
  type OpenObject,
  type Page,
  type PutLimits,
  type PutResult,
  StorageError,
  type StoredObject
} from './object-store.ts'
import { isAbsent, typedS3Error } from './s3-errors.ts'
import { uploadToS3 } from './s3-upload.ts'
import { checkPath } from './safe-path.ts'

/** Where an S3-compatible server is and how to get in. */
export type S3StoreOptions = {
  readonly bucket: string
  readonly region: string
  /** Absent: AWS itself. */
  readonly endpoint?: string
  /** The endpoint as callers reach it, for signed addresses; absent: the same. */
  readonly publicEndpoint?: string
  /** Absent: those of the machine, as every AWS program finds them. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string }
}

/** What is needed to read from buckets by their names. */
export type S3Readers = {
  readonly of: (bucket: string) => Pick<ObjectStore, 'stat' | 'open'>
  readonly close: () => Promise<void>
}

type Bucket = { readonly client: S3Client; readonly bucket: string }

/** S3's least part, and its most parts of one object. */
const leastPartBytes = 5 * 2 ** 20
const maxParts = 10_000
const staleMs = 86_400_000
const pageObjects = 1_000
const timeouts = {
  connectionTimeout: 5_000,
  requestTimeout: 60_000,
  throwOnRequestTimeout: true,
  socketTimeout: 300_000
}

/**
 * Keeps objects in a bucket of S3 or of anything that speaks its protocol. The bucket must be there; one that cannot be used is an error
 * here, at the start. Uploads that a crash left unfinished are given up after a day.
 */
export const createS3Store = async (options: S3StoreOptions): Promise<ObjectStore> => {
  const client = clientOf(options, options.endpoint)
  const signer = clientOf(options, options.publicEndpoint ?? options.endpoint)
  const bucket: Bucket = { client, bucket: options.bucket }
  const close = async (): Promise<void> => {
    client.destroy()
    signer.destroy()
  }
  try {
    await enter(bucket, options.endpoint)
    await giveUpStaleUploads(bucket).catch(() => undefined)
  } catch (error) {
    await close()
    throw error
  }
  return {
    put: (path, body, limits) => put(bucket, path, body, limits),
    open: (path, range) => openObject(bucket, path, range),
    stat: path => stat(bucket, path),
    remove: prefix => remove(bucket, prefix),
    list: (prefix, page = {}) => list(bucket, prefix, page),
    signedUrl: async (path, { contentType, contentDisposition, expiresSeconds }) => {
      const answer = { ResponseContentType: contentType, ResponseContentDisposition: contentDisposition }
      const command = new GetObjectCommand({ Bucket: options.bucket, Key: checkPath(path), ...answer })
      return getSignedUrl(signer, command, { expiresIn: expiresSeconds })
    },
    close
  }
}

/** Reads from any bucket that the credentials open, and changes nothing there. */
export const createS3Readers = (options: Omit<S3StoreOptions, 'bucket'>): S3Readers => {
  const client = clientOf(options, options.endpoint)
  return {
    of: bucket => ({
      stat: path => stat({ client, bucket }, path),
      open: (path, range) => openObject({ client, bucket }, path, range)
    }),
    close: async () => client.destroy()
  }
}

/** Other servers know neither a host name for each bucket nor the checksums that AWS has added to its protocol. */
const clientOf = ({ region, credentials }: Omit<S3StoreOptions, 'bucket'>, endpoint: string | undefined): S3Client =>
  new S3Client({
    region,
    ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
    ...(credentials === undefined ? {} : { credentials }),
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: timeouts
  })

const enter = async ({ client, bucket }: Bucket, endpoint = 'AWS'): Promise<void> => {
  try {
    await client.send(new HeadBucketCommand({ Bucket: bucket }))
  } catch (cause) {
    const { code, message } = typedS3Error(cause)
    throw new StorageError(code, `the bucket ${bucket} at ${endpoint} cannot be used: ${message}`, { cause })
  }
}

/** Where that is allowed: not every key may list them. */
const giveUpStaleUploads = async ({ client, bucket }: Bucket): Promise<void> => {
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: 'tenants/' }))
  for (const { Key, UploadId, Initiated } of Uploads) {
    if (Initiated === undefined || Date.now() - Initiated.getTime() < staleMs) continue
    await client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key, UploadId }))
  }
}

const put = async (
  { client, bucket }: Bucket,
  path: string,
  body: ObjectBody,
  limits: PutLimits
): Promise<PutResult> => {
  const place = { Bucket: bucket, Key: checkPath(path) }
  const partBytes = Math.max(leastPartBytes, Math.ceil(limits.maxBytes / maxParts))
  const metered = meterBody(body, limits)
  try {
    await uploadToS3({ client, place, partBytes, signal: limits.signal }, metered.chunks())
    return metered.measured()
  } catch (error) {
    metered.abandon()
    throw typedS3Error(error)
  }
}

const openObject = async (
  { client, bucket }: Bucket,
  path: string,
  range?: ByteRange
): Promise<OpenObject | undefined> => {
  const Key = checkPath(path)
  try {
    const Range = range === undefined ? undefined : rangeHeader(range)
    const answer = await client.send(new GetObjectCommand({ Bucket: bucket, Key, Range }))
    const { start, end, bytes } = placeOf(answer.ContentRange, answer.ContentLength ?? 0)
    return { stream: answer.Body as Readable, bytes, start, end }
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw typedS3Error(error)
  }
}

const rangeHeader = ({ start, end }: ByteRange): string => {
  const isRight = Number.isSafeInteger(start) && start >= 0 && (end === undefined || end >= start)
  if (!isRight) throw new StorageError('bad-range', 'the range ends before it starts')
  return `bytes=${start}-${end ?? ''}`
}

const placeOf = (contentRange: string | undefined, length: number): { start: number; end: number; bytes: number } => {
  const [, start, end, bytes] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(contentRange ?? '') ?? []
  if (bytes === undefined) return { start: 0, end: length - 1, bytes: length }
  return { start: Number(start), end: Number(end), bytes: Number(bytes) }
}

const stat = async ({ client, bucket }: Bucket, path: string): Promise<StoredObject | undefined> => {
  const Key = checkPath(path)
  try {
    const { ContentLength, LastModified } = await client.send(new HeadObjectCommand({ Bucket: bucket, Key }))
    return { path, bytes: ContentLength ?? 0, modifiedMs: LastModified?.getTime() ?? 0 }
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw typedS3Error(error)
  }
}

const list = async (
  { client, bucket }: Bucket,
  prefix: string,
  { limit = pageObjects, after }: Page
): Promise<StoredObject[]> => {
  const found: StoredObject[] = []
  const Prefix = `${checkPath(prefix)}/`
  let isMore = true
  try {
    while (isMore && found.length < limit) {
      const StartAfter = found.at(-1)?.path ?? after
      const MaxKeys = Math.min(pageObjects, limit - found.length)
      const answer = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix, StartAfter, MaxKeys }))
      for (const { Key = '', Size = 0, LastModified } of answer.Contents ?? [])
        found.push({ path: Key, bytes: Size, modifiedMs: LastModified?.getTime() ?? 0 })
      isMore = answer.IsTruncated === true
    }
    return found
  } catch (error) {
    throw typedS3Error(error)
  }
}

const remove = async (bucket: Bucket, prefix: string): Promise<void> => {
  const Key = checkPath(prefix)
  try {
    await bucket.client.send(new DeleteObjectCommand({ Bucket: bucket.bucket, Key }))
    let after: string | undefined
    do {
      const found = await list(bucket, prefix, after === undefined ? {} : { after })
      if (found.length > 0) await removeAll(bucket, found)
      after = found.length < pageObjects ? undefined : found.at(-1)?.path
    } while (after !== undefined)
  } catch (error) {
    throw typedS3Error(error)
  }
}

const removeAll = async ({ client, bucket }: Bucket, objects: readonly StoredObject[]): Promise<void> => {
  const Objects = objects.map(({ path }) => ({ Key: path }))
  const { Errors = [] } = await client.send(
    new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects, Quiet: true } })
  )
  const [first] = Errors
  if (first) throw new StorageError('not-writable', `${Errors.length} objects cannot be removed: ${first.Message}`)
}
