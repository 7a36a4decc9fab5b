import { mkdirSync, readdirSync } from 'node:fs'
import { dirname, join, normalize, relative, resolve, sep } from 'node:path'
import type { Folders, FolderType } from './folders.ts'

/** Where the next files of a prefix go: `{file}_{counter}_.png` in `subfolder` of a media folder. */
export interface SaveTarget {
  directory: string
  subfolder: string
  name: string
  counter: number
}

/** Finds the place for files of a prefix and makes its folder. Throws when the prefix leads out of the folder. */
export function saveTarget(
  folders: Folders,
  type: FolderType,
  prefix: string,
  size: { width: number; height: number }
): SaveTarget {
  const filled = normalize(withTokens(prefix, size))
  const root = folders.of(type)
  const path = resolve(root, filled.replace(/^[/\\]+/, ''))
  const directory = dirname(path)
  if (directory !== root && !directory.startsWith(root + sep)) throw outside(root, directory)
  mkdirSync(directory, { recursive: true })
  const name = filled.endsWith('/') ? '' : (filled.split(/[/\\]/).pop() as string)
  return { directory, subfolder: relative(root, directory), name, counter: nextCounter(directory, name) }
}

/** The file name of one picture of a batch. */
export function savedName(target: SaveTarget, index: number, extension: string): string {
  const name = target.name.replaceAll('%batch_num%', String(index))
  return `${name}_${String(target.counter + index).padStart(5, '0')}_.${extension}`
}

/** The absolute path of a saved name. */
export function savedPath(target: SaveTarget, name: string): string {
  return join(target.directory, name)
}

function withTokens(prefix: string, size: { width: number; height: number }): string {
  const now = new Date()
  const two = (value: number) => String(value).padStart(2, '0')
  const values: Record<string, string> = {
    width: String(size.width),
    height: String(size.height),
    year: String(now.getFullYear()),
    month: two(now.getMonth() + 1),
    day: two(now.getDate()),
    hour: two(now.getHours()),
    minute: two(now.getMinutes()),
    second: two(now.getSeconds()),
    date: `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`
  }
  return prefix.replace(/%(\w+)%/g, (whole, token: string) => values[token] ?? whole)
}

function nextCounter(directory: string, name: string): number {
  let highest = 0
  for (const file of readdirSync(directory)) {
    if (!file.startsWith(`${name}_`)) continue
    const digits = /^(\d+)_/.exec(file.slice(name.length + 1))
    if (digits) highest = Math.max(highest, Number(digits[1]))
  }
  return highest + 1
}

function outside(root: string, directory: string): Error {
  const common = commonPath(root, directory)
  const text =
    '**** ERROR: Saving image outside the output folder is not allowed.' +
    `\n full_output_folder: ${directory}\n         output_dir: ${root}\n         commonpath: ${common}`
  return new Error(text)
}

function commonPath(a: string, b: string): string {
  const left = a.split(sep)
  const right = b.split(sep)
  let at = 0
  while (at < left.length && left[at] === right[at]) at++
  return left.slice(0, at).join(sep) || sep
}
