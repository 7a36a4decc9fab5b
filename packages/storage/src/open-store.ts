import { createFolderStore } from './folder-store.ts'
import type { ObjectStore } from './object-store.ts'
import type { S3Readers, S3StoreOptions } from './s3-store.ts'

/** Which store to open. */
export type StoreOptions = { readonly folder: string } | { readonly s3: S3StoreOptions }

/** Opens a store; the client of S3 is loaded only when it is wanted. Throws StorageError when the store cannot be used. */
export const openStore = async (options: StoreOptions): Promise<ObjectStore> => {
  if ('folder' in options) return createFolderStore(options)
  const { createS3Store } = await import('./s3-store.ts')
  return createS3Store(options.s3)
}

/** Opens what reads from any bucket of a server; its client is loaded only when it is wanted. */
export const openS3Readers = async (options: Omit<S3StoreOptions, 'bucket'>): Promise<S3Readers> => {
  const { createS3Readers } = await import('./s3-store.ts')
  return createS3Readers(options)
}
