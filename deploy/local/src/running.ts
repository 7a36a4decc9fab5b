import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { isAlive } from './own-folder.ts'
import { localFolder } from './root.ts'

/** Which ledger the fleet of a running `npm start` works on. */
export type RunningLedger = { readonly REDIS_URL: string; readonly REDIS_KEY_PREFIX?: string }

const file = join(localFolder, 'running.json')

/** Says that this process runs a fleet on a ledger; returns how to take that back. */
export const tellRunning = (env: RunningLedger): (() => void) => {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, JSON.stringify({ pid: process.pid, env }))
  return () => rmSync(file, { force: true })
}

/** The ledger of the `npm start` that runs now, if one does. */
export const findRunning = (): RunningLedger | undefined => {
  if (!existsSync(file)) return undefined
  const { pid, env } = JSON.parse(readFileSync(file, 'utf8')) as { pid: number; env: RunningLedger }
  return isAlive(pid) ? env : undefined
}
