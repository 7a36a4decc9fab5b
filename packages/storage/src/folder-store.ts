import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, readdir, realpath, rename, rm, statfs, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type MeteredBody, meterBody } from './metered-body.ts'
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
import { refuseLinkedParents, resolveInside } from './safe-path.ts'

/** Where objects are kept and how much of the disk is left alone. */
export type FolderStoreOptions = {
  readonly folder: string
  /** Below this much free space nothing is stored. Default 256 MiB. */
  readonly minFreeBytes?: number
}

const incoming = '.incoming'
const staleMs = 86_400_000
/** What was found out about the disk and its folders holds for so long. */
const trustMs = 1_000
const maxTrusted = 1_000
const defaultList = 1000

/**
 * Keeps objects in a folder, which may be shared between machines. The folder is made when missing; one that cannot be written or is
 * full is an error here, at the start. Files arrive under another name and are renamed when complete; what a crash left half written
 * is removed after a day.
 */
export const createFolderStore = async ({
  folder,
  minFreeBytes = 268_435_456
}: FolderStoreOptions): Promise<ObjectStore> => {
  const root = await prepare(folder, minFreeBytes)
  const disk: Disk = { root, minFreeBytes, roomyAtMs: Number.NEGATIVE_INFINITY, trusted: new Map() }
  return {
    put: (path, body, limits) => put(disk, path, body, limits),
    open: (path, range) => openObject(root, path, range),
    remove: async prefix => {
      const absolute = resolveInside(root, prefix)
      await refuseLinkedParents(root, absolute)
      await rm(absolute, { recursive: true, force: true, maxRetries: 2 })
    },
    stat: path => statObject(root, path),
    list: async (prefix, page = {}) => {
      const found: StoredObject[] = []
      await walk(root, prefix, page, found)
      return found
    },
    close: async () => {}
  }
}

const prepare = async (folder: string, minFreeBytes: number): Promise<string> => {
  try {
    await mkdir(join(folder, incoming), { recursive: true })
    const root = await realpath(folder)
    const probe = join(root, incoming, `probe-${randomUUID()}`)
    await writeFile(probe, '')
    await rm(probe)
    await removeStale(join(root, incoming))
    await refuseWhenFull(root, minFreeBytes)
    return root
  } catch (error) {
    if (error instanceof StorageError) throw error
    const { code } = error as NodeJS.ErrnoException
    throw new StorageError('not-writable', `the output folder ${folder} cannot be written (${code})`, { cause: error })
  }
}

const removeStale = async (folder: string): Promise<void> => {
  for (const name of await readdir(folder)) {
    const file = join(folder, name)
    const age = await lstat(file).catch(() => undefined)
    if (age !== undefined && Date.now() - age.mtimeMs > staleMs) await rm(file, { force: true })
  }
}

const refuseWhenFull = async (root: string, minFreeBytes: number): Promise<void> => {
  const { bavail, bsize } = await statfs(root)
  const freeBytes = bavail * bsize
  if (freeBytes >= minFreeBytes) return
  throw new StorageError('no-space', `the output folder has ${freeBytes} bytes free, fewer than ${minFreeBytes}`)
}

type Disk = {
  readonly root: string
  readonly minFreeBytes: number
  /** When there was last seen to be room. */
  roomyAtMs: number
  /** Folders that are no links, and when that was seen. */
  readonly trusted: Map<string, number>
}

const keepRoom = async (disk: Disk): Promise<void> => {
  if (performance.now() - disk.roomyAtMs < trustMs) return
  await refuseWhenFull(disk.root, disk.minFreeBytes)
  disk.roomyAtMs = performance.now()
}

const put = async (disk: Disk, path: string, body: ObjectBody, limits: PutLimits): Promise<PutResult> => {
  const target = resolveInside(disk.root, path)
  const temporary = join(disk.root, incoming, randomUUID())
  const metered = meterBody(body, limits)
  try {
    await allSettledOrThrow([write(temporary, metered), makeFolderOf(disk, target), keepRoom(disk)])
    await moveInto(disk, temporary, target)
    return metered.measured()
  } catch (error) {
    metered.abandon()
    await rm(temporary, { force: true }).catch(() => undefined)
    throw typed(error)
  }
}

const write = async (file: string, metered: MeteredBody): Promise<void> => {
  const handle = await open(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o640)
  try {
    for await (const chunk of metered.chunks()) await handle.writeFile(chunk)
  } finally {
    await handle.close()
  }
}

/** The folder may be removed, with an attempt that lost, between its making and the move. */
const moveInto = async (disk: Disk, temporary: string, target: string): Promise<void> => {
  try {
    await rename(temporary, target)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    disk.trusted.clear()
    await makeFolderOf(disk, target)
    await rename(temporary, target)
  }
}

const makeFolderOf = async (disk: Disk, target: string): Promise<void> => {
  await refuseLinkedAncestors(disk, target)
  await mkdir(dirname(target), { recursive: true })
  await refuseLinkedParents(disk.root, target)
}

/** Like Promise.all, but nothing is still at work when it throws. */
const allSettledOrThrow = async <T extends readonly Promise<unknown>[]>(work: readonly [...T]) => {
  await Promise.allSettled(work)
  return Promise.all(work)
}

const refuseLinkedAncestors = async ({ root, trusted }: Disk, target: string): Promise<void> => {
  const nowMs = performance.now()
  const ancestors: string[] = []
  for (let place = dirname(target); place.length > root.length; place = dirname(place))
    if (nowMs - (trusted.get(place) ?? Number.NEGATIVE_INFINITY) > trustMs) ancestors.push(place)
  const all = await Promise.all(ancestors.map(place => lstat(place).catch(() => undefined)))
  if (all.some(stats => stats?.isSymbolicLink()))
    throw new StorageError('unsafe-path', 'the path does not stay inside the store')
  if (trusted.size > maxTrusted) trusted.clear()
  for (const [i, place] of ancestors.entries()) if (all[i]) trusted.set(place, nowMs)
}

const openObject = async (root: string, path: string, range?: ByteRange): Promise<OpenObject | undefined> => {
  const absolute = resolveInside(root, path)
  let handle: FileHandle | undefined
  try {
    await refuseLinkedParents(root, absolute)
    handle = await open(absolute, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const stats = await handle.stat()
    if (!stats.isFile()) return void (await handle.close())
    const { start, end } = within(stats.size, range)
    if (stats.size === 0) return { stream: handle.createReadStream(), bytes: 0, start: 0, end: -1 }
    return { stream: handle.createReadStream({ start, end }), bytes: stats.size, start, end }
  } catch (error) {
    await handle?.close()
    if (isAbsent(error)) return undefined
    throw typed(error)
  }
}

const within = (bytes: number, range: ByteRange | undefined): { start: number; end: number } => {
  if (range === undefined) return { start: 0, end: bytes - 1 }
  const end = Math.min(range.end ?? bytes - 1, bytes - 1)
  const isRight = Number.isSafeInteger(range.start) && range.start >= 0 && range.start < bytes && end >= range.start
  if (!isRight) throw new StorageError('bad-range', `the object has ${bytes} bytes`)
  return { start: range.start, end }
}

const statObject = async (root: string, path: string): Promise<StoredObject | undefined> => {
  const absolute = resolveInside(root, path)
  await refuseLinkedParents(root, absolute)
  try {
    const stats = await lstat(absolute)
    return stats.isFile() ? { path, bytes: stats.size, modifiedMs: stats.mtimeMs } : undefined
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw typed(error)
  }
}

/** In the order of whole paths, as S3 lists: a folder stands where its name with a slash does. */
const walk = async (root: string, prefix: string, page: Page, found: StoredObject[]): Promise<void> => {
  const { limit = defaultList, after = '' } = page
  const absolute = resolveInside(root, prefix)
  await refuseLinkedParents(root, absolute)
  const entries = await readdir(absolute, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (isAbsent(error)) return []
    throw typed(error)
  })
  const named = entries.map(entry => ({ entry, path: `${prefix}/${entry.name}${entry.isDirectory() ? '/' : ''}` }))
  for (const { entry, path } of named.sort((a, b) => (a.path < b.path ? -1 : 1))) {
    if (found.length >= limit) return
    if (path <= after && !after.startsWith(path)) continue
    if (entry.isDirectory()) await walk(root, path.slice(0, -1), page, found)
    if (!entry.isFile() || path <= after) continue
    const stats = await lstat(join(absolute, entry.name)).catch(() => undefined)
    if (stats !== undefined) found.push({ path, bytes: stats.size, modifiedMs: stats.mtimeMs })
  }
}

const isAbsent = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException).code ?? '')

const typed = (error: unknown): unknown => {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new StorageError('no-space', 'the output folder is full', { cause: error })
  }
  if (['EACCES', 'EPERM', 'EROFS', 'ENOENT', 'ENOTDIR', 'EIO'].includes(code ?? '')) {
    return new StorageError('not-writable', `the output folder cannot be used (${code})`, { cause: error })
  }
  return error
}
