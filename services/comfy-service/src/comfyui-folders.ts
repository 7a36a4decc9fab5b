import { lstat, readdir, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { refuseLinkedParents, resolveInside } from '@comfy-balancer/storage/safe-path'

/** ComfyUI's own folders, where this service shares them: what is ours there is removed when it has had its use. */
export type ComfyUiFolders = {
  /** Removes what an attempt's output graph nodes wrote, once the store has it. */
  removeOutputs(token: string): Promise<void>
  /** Removes what no attempt can be using any more, inputs above all. Answers how much that was. */
  removeOld(nowMs: number): Promise<number>
}

/** All that is ours lies in folders of this name: the output graph nodes' prefixes and the uploads say so. */
export const ownFolder = 'comfy-balancer'

const kinds = ['output', 'temp', 'input'] as const
/** An attempt takes a day at most; other services may share the same folders, so nothing younger is known to be unused. */
const keepMs = 90_000_000

/** Opens the folders below the one that ComfyUI was installed in. Throws when it is not ComfyUI's. */
export const openComfyUiFolders = async (folder: string): Promise<ComfyUiFolders> => {
  const output = await lstatOrNothing(join(folder, 'output'))
  if (!output)
    throw new Error(`COMFYUI_DIR: ${folder} has no folder output, so it is not where ComfyUI keeps its files`)
  return {
    async removeOutputs(token) {
      for (const kind of ['output', 'temp']) await remove(join(folder, kind), `${ownFolder}/${token}`)
    },

    async removeOld(nowMs) {
      let removed = 0
      for (const kind of kinds) removed += await removeOldIn(join(folder, kind), nowMs - keepMs)
      return removed
    }
  }
}

const removeOldIn = async (folder: string, beforeMs: number): Promise<number> => {
  let removed = 0
  for (const name of await readdir(join(folder, ownFolder)).catch(() => [])) {
    const stats = await lstatOrNothing(join(folder, ownFolder, name))
    if (!stats || stats.mtimeMs >= beforeMs) continue
    await remove(folder, `${ownFolder}/${name}`)
    removed++
  }
  return removed
}

/** The folder itself may be a link, as people make them to other disks; nothing below it may lead out. */
const remove = async (folder: string, path: string): Promise<void> => {
  const root = await realpath(folder).catch(() => undefined)
  if (root === undefined) return
  const absolute = resolveInside(root, path)
  await refuseLinkedParents(root, absolute)
  await rm(absolute, { recursive: true, force: true, maxRetries: 2 })
}

const lstatOrNothing = (path: string) => lstat(path).catch(() => undefined)
