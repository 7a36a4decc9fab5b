import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { findOnPath, installHint, installRedis } from '@comfy-balancer/local/redis-install'
import type { Link } from './link.ts'
import { Program } from './program.ts'

/** A Redis that the rig may kill; every write is in its append-only file, with the second it happened in, from the first to the last. */
export type RigRedis = { readonly program: Program; readonly appendOnlyFolder: string }

/** Finds the program, or installs it as `npm test` does. */
export const findRedis = async (): Promise<string> => {
  const command = findOnPath('redis-server', 'valkey-server') ?? (await installRedis())
  if (!command) throw new Error(`A Redis server (7 or later) is needed that can be killed: ${installHint()}`)
  return command
}

/** Describes the server on `port`; its data stay in `folder` when it is killed. */
export const createRedis = (command: string, folder: string, port: number, links: readonly Link[]): RigRedis => {
  const data = join(folder, 'redis')
  mkdirSync(data, { recursive: true })
  const program = new Program({
    name: 'redis',
    links,
    start: life => ({
      command,
      args: [
        ...['--port', String(port), '--bind', '127.0.0.1', '--dir', data, '--save', ''],
        ...['--maxmemory-policy', 'noeviction', '--appendonly', 'yes', '--appendfsync', 'everysec'],
        ...['--auto-aof-rewrite-percentage', '0', '--aof-timestamp-enabled', 'yes']
      ],
      logFile: join(folder, 'logs', `redis.${life}.log`),
      readyWhen: line => (line.includes('Ready to accept connections') ? 'ready' : undefined)
    })
  })
  return { program, appendOnlyFolder: join(data, 'appendonlydir') }
}
