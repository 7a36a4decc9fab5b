import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { localFolder } from './root.ts'

/** Makes `.local/<kind>-<our pid>` and removes those of the same kind whose makers are dead. */
export const makeOwnFolder = (kind: string): string => {
  removeLeft(kind)
  const folder = join(localFolder, `${kind}-${process.pid}`)
  mkdirSync(folder, { recursive: true })
  return folder
}

/** Whether a process of this id is there (perhaps another than one thinks: ids are used again). */
export const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

const removeLeft = (kind: string): void => {
  if (!existsSync(localFolder)) return
  for (const name of readdirSync(localFolder)) {
    const pid = name.startsWith(`${kind}-`) ? Number(name.slice(kind.length + 1)) : Number.NaN
    if (Number.isInteger(pid) && !isAlive(pid)) rmSync(join(localFolder, name), { recursive: true, force: true })
  }
}
