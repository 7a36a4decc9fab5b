import { randomUUID } from 'node:crypto'
import { lstat, mkdir, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { basename, join, sep } from 'node:path'

/** The folder below ComfyUI's folder of LoRAs that is ours; nothing outside it is touched. */
const ours = 'comfy-balancer'
const incoming = '.incoming'
const holds = '.held'
const ownFile = /^([0-9a-f]{32})-([0-9a-f]{32})\.safetensors$/
const staleMs = 86_400_000

/** A LoRA in the folder, named by where it came from and by what is in it. */
export type KeptLora = { readonly file: string; readonly bytes: number; readonly usedMs: number }

export type LoraFolder = Awaited<ReturnType<typeof openLoraFolder>>

/** `freshMs`: a hold that its holder has not renewed for so long is none; its process is gone. */
export type LoraFolderOptions = { readonly modelsDir: string; readonly holder: string; readonly freshMs?: number }

/**
 * Opens our folder of LoRAs. Several comfy-services may share it: a file that one of them holds is evicted by none. Throws when it cannot be
 * written.
 */
export const openLoraFolder = async ({ modelsDir, holder, freshMs = 120_000 }: LoraFolderOptions) => {
  const root = join(modelsDir, 'loras', ours)
  await prepare(root, modelsDir)
  const holdOf = (file: string): string => join(root, holds, `${file}.${holder.replace(/[^A-Za-z0-9.-]/g, '_')}`)

  const isHeld = async (file: string): Promise<boolean> => {
    for (const name of await readdir(join(root, holds))) {
      if (!name.startsWith(file)) continue
      const known = await lstat(join(root, holds, name)).catch(() => undefined)
      if (known && Date.now() - known.mtimeMs < freshMs) return true
    }
    return false
  }

  return {
    /** As a workflow names a file of this folder. */
    nameOf: (file: string): string => `${ours}${sep}${file}`,

    /** Keeps a file from being evicted until it is let go, as long as the hold is renewed. */
    hold: (file: string): Promise<void> => writeFile(holdOf(file), ''),
    letGo: (file: string): Promise<void> => rm(holdOf(file), { force: true }),

    /** What this holder holds, also from a life before this one. */
    async holding(): Promise<string[]> {
      const files = (await readdir(root)).filter(name => ownFile.test(name))
      const names = new Set(await readdir(join(root, holds)))
      return files.filter(file => names.has(basename(holdOf(file))))
    },

    /** Where a new file is written before it is complete. */
    newTemporary: (): string => join(root, incoming, randomUUID()),

    /** Makes a complete file visible to ComfyUI under its name. */
    admit: (temporary: string, file: string): Promise<void> => rename(temporary, join(root, file)),

    /** The file of an origin, now used; undefined when it is not there. */
    async use(identity: string): Promise<string | undefined> {
      const file = (await readdir(root)).find(name => ownFile.exec(name)?.[1] === identity)
      if (file === undefined) return undefined
      await utimes(join(root, file), new Date(), new Date()).catch(() => undefined)
      return file
    },

    has: async (file: string): Promise<boolean> => (await lstat(join(root, file)).catch(() => undefined)) !== undefined,

    /** Every file of ours, the one that was used longest ago first. */
    async kept(): Promise<KeptLora[]> {
      const names = (await readdir(root)).filter(name => ownFile.test(name))
      const found = await Promise.all(
        names.map(async file => {
          const known = await lstat(join(root, file)).catch(() => undefined)
          return known?.isFile() ? [{ file, bytes: known.size, usedMs: known.mtimeMs }] : []
        })
      )
      return found.flat().sort((a, b) => a.usedMs - b.usedMs)
    },

    /** Removes a file that nobody holds; false when somebody does. It is taken away first, so that who holds it meanwhile gets it back. */
    async evict(file: string): Promise<boolean> {
      if (!ownFile.test(file) || (await isHeld(file))) return false
      const away = join(root, incoming, randomUUID())
      const isOurs = await rename(join(root, file), away).then(
        () => true,
        () => false
      )
      if (!isOurs) return false
      if (!(await isHeld(file))) return rm(away, { force: true }).then(() => true)
      await rename(away, join(root, file))
      return false
    }
  }
}

/** The name of a file by its origin and its content's digest. */
export const loraFileOf = (identity: string, sha256: string): string => `${identity}-${sha256.slice(0, 32)}.safetensors`

/** The first half of the digest of what is in a file. */
export const contentOf = (file: string): string => ownFile.exec(file)?.[2] ?? ''

const prepare = async (root: string, modelsDir: string): Promise<void> => {
  try {
    if (!(await lstat(modelsDir)).isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' })
    for (const folder of [incoming, holds]) await mkdir(join(root, folder), { recursive: true })
    await writeFile(join(root, incoming, 'probe'), '')
    for (const name of await readdir(join(root, incoming))) await removeStale(join(root, incoming, name))
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new Error(`the models folder ${modelsDir} cannot be used for LoRAs (${code})`, { cause })
  }
}

const removeStale = async (file: string): Promise<void> => {
  const known = await lstat(file).catch(() => undefined)
  if (known && Date.now() - known.mtimeMs > staleMs) await rm(file, { force: true })
}
