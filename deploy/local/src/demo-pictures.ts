import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Client } from '@comfy-balancer/client/client'
import { isPng } from './png.ts'
import { root } from './root.ts'

/** Where the demo's pictures go; not in git. */
export const pictureFolder = join(root, 'demo-output')

/** Empties the folder of the run before. */
export const clearPictures = (): void => {
  rmSync(pictureFolder, { recursive: true, force: true })
  mkdirSync(pictureFolder)
}

/** Saves the first output of a task under this name; false when the task has none, it cannot be fetched, or it is no PNG. */
export const savePicture = async (client: Client, taskId: string, name: string): Promise<boolean> => {
  try {
    const { state, outputs } = await client.getTask(taskId)
    if (state !== 'succeeded' || !outputs[0]) return false
    const bytes = Buffer.from(await (await client.download(outputs[0])).arrayBuffer())
    writeFileSync(join(pictureFolder, `${name}.png`), bytes)
    return isPng(bytes)
  } catch {
    return false
  }
}
