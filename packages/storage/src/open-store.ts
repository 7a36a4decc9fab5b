import { createFolderStore } from './folder-store.ts'
import type { ObjectStore } from './object-store.ts'

/** Opens the store that OUTPUT_STORE names: `folder:<path>`. Throws for another form, or StorageError when it cannot be used. */
export const openStore = (spec: string): Promise<ObjectStore> => {
  if (spec.startsWith('folder:')) return createFolderStore({ folder: spec.slice('folder:'.length) })
  throw new Error(`OUTPUT_STORE must be folder:<path>, not ${JSON.stringify(spec)}`)
}
