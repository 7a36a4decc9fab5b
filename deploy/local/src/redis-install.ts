import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { step } from './say.ts'

/** The first of these programs that is on PATH. */
export const findOnPath = (...names: string[]): string | undefined => {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean)
  return names.flatMap(name => folders.map(folder => join(folder, name))).find(isExecutable)
}

const isExecutable = (file: string): boolean => {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Installs Debian's or Ubuntu's redis-server when we are root there; undefined elsewhere. The server that the package may start by itself stays alone. */
export const installRedis = async (): Promise<string | undefined> => {
  if (process.getuid?.() !== 0 || !findOnPath('apt-get')) return undefined
  await step('installing redis-server with apt-get', async () => {
    await aptGet('update')
    await aptGet('install', '-y', '--no-install-recommends', 'redis-server')
  })
  return findOnPath('redis-server')
}

const aptWithinMs = 300_000

const aptGet = async (...args: string[]): Promise<void> => {
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    await promisify(execFile)('apt-get', args, { env, timeout: aptWithinMs, maxBuffer: 64 * 1024 * 1024 })
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : String(error)
    throw new Error(`apt-get ${args.join(' ')} failed: ${said}`)
  }
}

/** The one line that brings a Redis server to this system. */
export const installHint = (platform: string = process.platform): string => {
  if (platform === 'win32') return 'wsl --install -d Debian     (and work there)'
  if (platform === 'darwin') return 'brew install valkey'
  const known = packageManagers.find(([program]) => findOnPath(program))
  return known ? known[1] : 'REDIS_URL=redis://host:6379 npm start'
}

const packageManagers: readonly (readonly [string, string])[] = [
  ['apt-get', 'sudo apt-get install -y redis-server'],
  ['dnf', 'sudo dnf install -y valkey'],
  ['apk', 'sudo apk add redis'],
  ['pacman', 'sudo pacman -S --noconfirm valkey'],
  ['zypper', 'sudo zypper install -y redis7'],
  ['brew', 'brew install valkey']
]
