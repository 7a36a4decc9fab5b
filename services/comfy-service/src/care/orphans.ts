import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { groupOf, isOrphanOf, markName, type Owned } from './process-mark.ts'

const pollMs = 50
const lastMs = 5_000

/**
 * Ends what a comfy-service that was killed has left behind of this node's ComfyUI, and answers how many process groups that were. They are
 * known by the mark in their environment, so nothing else is ever hit. Where there is no /proc there is nothing to be found.
 */
export const endOrphans = async (owned: Owned, graceMs: number): Promise<number> => {
  const found = orphanGroups(owned).size
  if (found === 0) return 0
  if (await areGone(owned, 'SIGTERM', graceMs)) return found
  await areGone(owned, 'SIGKILL', lastMs)
  return found
}

const areGone = async (owned: Owned, signal: NodeJS.Signals, withinMs: number): Promise<boolean> => {
  const endMs = performance.now() + withinMs
  for (const group of orphanGroups(owned)) signalGroup(group, signal)
  while (orphanGroups(owned).size > 0) {
    if (performance.now() > endMs) return false
    await pause(pollMs)
  }
  return true
}

const orphanGroups = (owned: Owned): Set<number> => {
  const groups = new Set<number>()
  for (const name of listOr([], () => readdirSync('/proc'))) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    const mark = markOf(pid)
    const group = mark !== undefined && isOrphanOf(mark, owned) ? groupOf(pid) : undefined
    if (group !== undefined && group !== groupOf(process.pid)) groups.add(group)
  }
  return groups
}

const markOf = (pid: number): string | undefined => {
  const variables = listOr([], () => readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0'))
  return variables.find(one => one.startsWith(`${markName}=`))?.slice(markName.length + 1)
}

/** Signals a whole process group; one that is gone, of which some systems say that it is not ours, is no fault. */
export const signalGroup = (group: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(-group, signal)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}

/** Processes come and go while they are looked at, and those of other users may not be. */
const listOr = (otherwise: string[], read: () => string[]): string[] => {
  try {
    return read()
  } catch {
    return otherwise
  }
}
