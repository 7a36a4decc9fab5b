import { fileURLToPath } from 'node:url'

/** The folder of the built page: `index.html` and `assets/`. Empty or missing when it was not built. */
export const pageFolder: string = fileURLToPath(new URL('../page/', import.meta.url))
