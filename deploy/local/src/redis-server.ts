import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { isAlive, makeOwnFolder } from './own-folder.ts'
import { freePort } from './port.ts'
import { type Process, startProcess } from './processes.ts'
import { localFolder } from './root.ts'
import { until } from './until.ts'

type Server = { readonly url: string; readonly stop: () => Promise<void> }
type Owner = { readonly pid: number; readonly port: number }

const leaveWithinMs = 10_000

/** Starts a server of our own on a free port of loopback, with an append-only file in a folder of its own: `.local/redis` to keep, else one by our pid that goes with us. */
export const startRedisServer = async (command: string, keep: boolean): Promise<Server> => {
  const folder = keep ? join(localFolder, 'redis') : makeOwnFolder('redis')
  mkdirSync(folder, { recursive: true })
  if (keep) await waitForOwner(folder)
  const port = await freePort()
  const server = await startProcess({
    name: 'redis',
    command,
    args: [...configuration(port), '--dir', folder],
    logFile: keep ? join(localFolder, 'logs', 'redis.log') : join(folder, 'redis.log'),
    readyWhen: line => line.includes('Ready to accept connections') || undefined
  })
  if (keep) writeOwner(folder, { pid: server.pid, port })
  return { url: `redis://127.0.0.1:${port}`, stop: () => stop(server, folder, keep) }
}

const configuration = (port: number): string[] => [
  ...['--port', String(port), '--bind', '127.0.0.1'],
  ...['--appendonly', 'yes', '--save', '', '--maxmemory-policy', 'noeviction']
]

const stop = async (server: Process, folder: string, keep: boolean): Promise<void> => {
  await server.stop()
  rmSync(keep ? ownerFile(folder) : folder, { recursive: true, force: true })
}

const ownerFile = (folder: string): string => join(folder, 'owner.json')

const writeOwner = (folder: string, owner: Owner): void => writeFileSync(ownerFile(folder), JSON.stringify(owner))

/** Two servers must never write one append-only file. The one of a start that was just killed is given the time to end. */
const waitForOwner = async (folder: string): Promise<void> => {
  if (!existsSync(ownerFile(folder))) return
  const owner: Owner = JSON.parse(readFileSync(ownerFile(folder), 'utf8'))
  if (await until(async () => ((await isServing(owner)) ? undefined : true), leaveWithinMs)) return
  throw new Error(`Another \`npm start\` uses ${folder} (its Redis has pid ${owner.pid}): stop that one first.`)
}

const isServing = async ({ pid, port }: Owner): Promise<boolean> => {
  if (!isAlive(pid)) return false
  const redis = new Redis(port, '127.0.0.1', { lazyConnect: true, connectTimeout: 1_000, retryStrategy: () => null })
  redis.on('error', () => undefined)
  try {
    await redis.connect()
    return (await redis.info('server')).includes(`process_id:${pid}`)
  } catch {
    return false
  } finally {
    redis.disconnect()
  }
}
