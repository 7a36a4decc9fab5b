import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository's folder. */
export const root = fileURLToPath(new URL('../../../../', import.meta.url))

/** Where everything goes that a local run leaves behind: logs, outputs, Redis data. Not in git. */
export const localFolder = join(root, '.local')
