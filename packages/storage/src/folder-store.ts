import { createHash, randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, readdir, realpath, rename, rm, statfs, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { addAbortSignal, Readable } from 'node:stream'
import type { ByteRange, OpenOutput, OutputStore, StoredOutput } from './output-store.ts'
import { StorageError } from './output-store.ts'
import { refuseLinkedParents, resolveInside } from './safe-path.ts'

/** Where outputs are kept and how much of the disk is left alone. */
export type FolderStoreOptions = {
  readonly folder: string
  /** Below this much free space nothing is stored. Default 256 MiB. */
  readonly minFreeBytes?: number
}

const incoming = '.incoming'
const staleMs = 86_400_000
const defaultList = 1000

/**
 * Keeps outputs in a folder, which may be shared between machines. The folder is made when missing; one that cannot be written or is
 * full is an error here, at the start. Files arrive under another name and are renamed when complete; what a crash left half written
 * is removed after a day.
 */
export const createFolderStore = async ({
  folder,
  minFreeBytes = 268_435_456
}: FolderStoreOptions): Promise<OutputStore> => {
  const root = await prepare(folder, minFreeBytes)
  return {
    put: (path, body, limits) => put({ root, minFreeBytes }, path, body, limits),
    open: (path, range) => openOutput(root, path, range),
    remove: async prefix => {
      const absolute = resolveInside(root, prefix)
      await refuseLinkedParents(root, absolute)
      await rm(absolute, { recursive: true, force: true, maxRetries: 2 })
    },
    list: async (prefix, limit = defaultList) => {
      const found: StoredOutput[] = []
      await walk(root, prefix, limit, found)
      return found
    }
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

type Root = { readonly root: string; readonly minFreeBytes: number }

const put = async (
  { root, minFreeBytes }: Root,
  path: string,
  body: Parameters<OutputStore['put']>[1],
  limits: Parameters<OutputStore['put']>[2]
): Promise<{ bytes: number; sha256: string }> => {
  const target = resolveInside(root, path)
  const temporary = join(root, incoming, randomUUID())
  try {
    const [stored] = await allSettledOrThrow([
      write(temporary, body, limits),
      makeFolderOf(root, target),
      refuseWhenFull(root, minFreeBytes)
    ])
    await moveInto(root, temporary, target)
    return stored
  } catch (error) {
    if (body instanceof Readable) body.destroy()
    await rm(temporary, { force: true }).catch(() => undefined)
    throw typed(error)
  }
}

const write = async (
  file: string,
  body: Parameters<OutputStore['put']>[1],
  { maxBytes, signal }: Parameters<OutputStore['put']>[2]
): Promise<{ bytes: number; sha256: string }> => {
  const handle = await open(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o640)
  try {
    const hash = createHash('sha256')
    let bytes = 0
    for await (const chunk of chunksOf(body, signal)) {
      bytes += chunk.byteLength
      if (bytes > maxBytes) throw new StorageError('too-large', `the output is larger than ${maxBytes} bytes`)
      hash.update(chunk)
      await handle.writeFile(chunk)
    }
    return { bytes, sha256: hash.digest('hex') }
  } finally {
    await handle.close()
  }
}

async function* chunksOf(body: Parameters<OutputStore['put']>[1], signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  if (body instanceof Uint8Array) return yield body
  const stream = body instanceof Readable ? body : Readable.from(body)
  if (signal !== undefined) addAbortSignal(signal, stream)
  try {
    for await (const chunk of stream) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk
  } catch (cause) {
    throw new StorageError('interrupted', 'the bytes of the output broke off', { cause })
  }
}

/** The folder may be removed, with an attempt that lost, between its making and the move. */
const moveInto = async (root: string, temporary: string, target: string): Promise<void> => {
  try {
    await rename(temporary, target)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    await makeFolderOf(root, target)
    await rename(temporary, target)
  }
}

const makeFolderOf = async (root: string, target: string): Promise<void> => {
  await refuseLinkedAncestors(root, target)
  await mkdir(dirname(target), { recursive: true })
  await refuseLinkedParents(root, target)
}

/** Like Promise.all, but nothing is still at work when it throws. */
const allSettledOrThrow = async <T extends readonly Promise<unknown>[]>(work: readonly [...T]) => {
  await Promise.allSettled(work)
  return Promise.all(work)
}

const refuseLinkedAncestors = async (root: string, target: string): Promise<void> => {
  const ancestors: string[] = []
  for (let place = dirname(target); place.length > root.length; place = dirname(place)) ancestors.push(place)
  const all = await Promise.all(ancestors.map(place => lstat(place).catch(() => undefined)))
  if (all.some(stats => stats?.isSymbolicLink()))
    throw new StorageError('unsafe-path', 'the path does not stay inside the store')
}

const openOutput = async (root: string, path: string, range?: ByteRange): Promise<OpenOutput | undefined> => {
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
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw typed(error)
  }
}

const within = (bytes: number, range: ByteRange | undefined): { start: number; end: number } => {
  if (range === undefined) return { start: 0, end: bytes - 1 }
  const end = Math.min(range.end ?? bytes - 1, bytes - 1)
  const isRight = Number.isSafeInteger(range.start) && range.start >= 0 && range.start < bytes && end >= range.start
  if (!isRight) throw new StorageError('bad-range', `the output has ${bytes} bytes`)
  return { start: range.start, end }
}

const walk = async (root: string, prefix: string, limit: number, found: StoredOutput[]): Promise<void> => {
  const absolute = resolveInside(root, prefix)
  await refuseLinkedParents(root, absolute)
  const entries = await readdir(absolute, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return []
    throw typed(error)
  })
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (found.length >= limit) return
    const path = `${prefix}/${entry.name}`
    if (entry.isDirectory()) await walk(root, path, limit, found)
    if (!entry.isFile()) continue
    const stats = await lstat(join(absolute, entry.name)).catch(() => undefined)
    if (stats !== undefined) found.push({ path, bytes: stats.size })
  }
}

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
