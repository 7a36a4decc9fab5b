import { readFileSync } from 'node:fs'

/** Stands in the environment of each ComfyUI that a comfy-service starts, and so of its children: which node's it is, and who started it. */
export const markName = 'COMFY_SERVICE_OWNER'

/** Whose ComfyUI: a node, and the address where it listens. */
export type Owned = { readonly node: string; readonly url: string }

const mark = ({ node, url }: Owned, pid: number, startedTicks: string): string =>
  [node, url, pid, startedTicks].join(' ')

/** The mark that this process puts on its ComfyUI. */
export const ownMark = (owned: Owned): string => mark(owned, process.pid, startedTicksOf(process.pid) ?? '')

/** True when a mark names this node, and the comfy-service that made it is gone. */
export const isOrphanOf = (text: string, owned: Owned): boolean => {
  const [node, url, pid, ...ticks] = text.split(' ')
  if (node !== owned.node || url !== owned.url) return false
  return startedTicksOf(Number(pid)) !== ticks.join(' ')
}

/** When a process began, in a unit of the kernel's: with its id this is a name that is never given twice. Undefined without such a process. */
const startedTicksOf = (pid: number): string | undefined => statFieldsOf(pid)?.[19]

/** The process group that a process is in. */
export const groupOf = (pid: number): number | undefined => {
  const group = Number(statFieldsOf(pid)?.[2])
  return group > 1 ? group : undefined
}

/** What stands in /proc/<pid>/stat after the name, which may itself hold spaces and brackets. */
const statFieldsOf = (pid: number): string[] | undefined => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? undefined : fields
  } catch {
    return undefined
  }
}
