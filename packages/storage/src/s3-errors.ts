import { S3ServiceException } from '@aws-sdk/client-s3'
import { StorageError, type StorageErrorCode } from './object-store.ts'

/** Whether S3 says that there is no such object; a missing bucket is something else. */
export const isAbsent = (error: unknown): boolean =>
  error instanceof S3ServiceException && (error.name === 'NoSuchKey' || error.name === 'NotFound')

const byName: Readonly<Record<string, StorageErrorCode>> = {
  AbortError: 'interrupted',
  InvalidRange: 'bad-range',
  EntityTooLarge: 'too-large',
  QuotaExceeded: 'no-space',
  XMinioStorageFull: 'no-space',
  XMinioAdminBucketQuotaExceeded: 'no-space'
}

/** What an error of the S3 client means for us. What is no answer of S3 is taken as its absence. */
export const typedS3Error = (error: unknown): StorageError => {
  if (error instanceof StorageError) return error
  const { name, message, code } = (error instanceof Error ? error : new Error(String(error))) as NodeJS.ErrnoException
  const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined
  return new StorageError(
    byName[name] ?? codeOf(status),
    wordsOf(status === undefined ? (code ?? name) : name, message, status),
    { cause: error }
  )
}

const codeOf = (status: number | undefined): StorageErrorCode => {
  if (status === 507) return 'no-space'
  if (status === undefined || status >= 500 || status === 408 || status === 429) return 'unavailable'
  return 'not-writable'
}

/** Callers may read them, so no address of ours. An answer without a body has no message of its own. */
const wordsOf = (name: string, message: string, status: number | undefined): string => {
  if (status === undefined) return `S3 does not answer (${name})`
  return `S3 answered ${status} ${name}${message === 'UnknownError' ? '' : `: ${message}`}`
}
