import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

let reaper: ChildProcess | undefined

/** Sees to it that this process group ends when we die, however we die; the answer takes that back. See `reaper.ts`. */
export const guard = (pid: number): (() => void) => {
  reaper ??= startReaper()
  const { stdin } = reaper
  stdin?.write(`+${pid}\n`)
  return () => stdin?.write(`-${pid}\n`)
}

const startReaper = (): ChildProcess => {
  const program = fileURLToPath(new URL('./reaper.js', import.meta.url))
  const child = spawn(process.execPath, [program], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
  child.unref()
  child.on('error', () => undefined)
  child.stdin.on('error', () => undefined)
  if ('unref' in child.stdin && typeof child.stdin.unref === 'function') child.stdin.unref()
  return child
}
