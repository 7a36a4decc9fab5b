import { realpath } from 'node:fs/promises'
import { dirname, isAbsolute, relative, resolve, sep } from 'node:path'
import { StorageError } from './object-store.ts'

const maxPath = 1024

/** The path itself when it is a plain relative one. Throws StorageError `unsafe-path` for any other. */
export const checkPath = (path: string): string => {
  const segments = path.split('/')
  const isPlain = path !== '' && path.length <= maxPath && !isAbsolute(path) && !/[\\:]/.test(path)
  if (!isPlain || hasControl(path) || segments.some(segment => segment === '' || segment.startsWith('.')))
    throw unsafe()
  return path
}

/** The absolute place of a relative path inside a folder. Throws StorageError `unsafe-path` for anything that is not plainly inside. */
export const resolveInside = (folder: string, path: string): string => {
  const absolute = resolve(folder, ...checkPath(path).split('/'))
  if (!isInside(folder, absolute)) throw unsafe()
  return absolute
}

/** Makes sure that no symbolic link leads out of the folder on the way to a place; the folder is a real path. */
export const refuseLinkedParents = async (folder: string, absolute: string): Promise<void> => {
  const parent = await realpath(dirname(absolute)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (parent !== undefined && parent !== folder && !isInside(folder, parent)) throw unsafe()
}

const unsafe = (): StorageError => new StorageError('unsafe-path', 'the path does not stay inside the store')

const hasControl = (path: string): boolean => [...path].some(char => char < ' ' || char === '\u007f')

const isInside = (folder: string, absolute: string): boolean => {
  const way = relative(folder, absolute)
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
}
