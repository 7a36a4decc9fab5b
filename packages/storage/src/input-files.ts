import { randomUUID } from 'node:crypto'
import type { ObjectStore } from './object-store.ts'
import { inputPath } from './output-path.ts'

/** The files that callers bring, as the store keeps them. */
export type InputFiles = ReturnType<typeof createInputFiles>

/** Puts every file under a path of its own: which of them counts for its content is the ledger's to say. */
export const createInputFiles = (store: ObjectStore) => ({
  /** Stores a stream in constant memory. Throws StorageError. */
  async put(tenant: string, body: AsyncIterable<Uint8Array>, maxBytes: number) {
    const path = inputPath({ tenant, name: randomUUID() })
    return { path, ...(await store.put(path, body, { maxBytes })) }
  },
  /** Removes one; nothing there is as good as removed. */
  remove: (path: string): Promise<void> => store.remove(path)
})
