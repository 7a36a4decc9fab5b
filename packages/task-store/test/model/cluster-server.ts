import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'

/** A Redis in cluster mode that holds every slot itself, for tests. */
export type ClusterServer = { readonly url: string; readonly stop: () => Promise<void> }

const readyWithinMs = 30_000

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

/** Starts one; undefined where `redis-server` is not on PATH. Rejects when it is not ready in time. */
export const startClusterServer = async (): Promise<ClusterServer | undefined> => {
  const folder = mkdtempSync(join(tmpdir(), 'comfy-balancer-cluster-'))
  const [port, busPort] = [await freePort(), await freePort()]
  const child = spawn(
    'redis-server',
    [
      ...['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder, '--save', ''],
      ...['--cluster-enabled', 'yes', '--cluster-port', `${busPort}`]
    ],
    { stdio: 'ignore' }
  )
  const ended = new Promise<string>(resolve => {
    child.once('error', error => resolve(error.message))
    child.once('exit', code => resolve(`it ended with ${code}`))
  })
  const stop = async () => {
    child.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true })
  }
  const url = `redis://127.0.0.1:${port}`
  try {
    const fault = await Promise.race([ended, takeAllSlots(url)])
    if (fault === undefined) return { url, stop }
    await stop()
    if (fault.includes('ENOENT')) return undefined
    throw new Error(`redis-server in cluster mode: ${fault}`)
  } catch (error) {
    await stop()
    throw error
  }
}

const takeAllSlots = async (url: string): Promise<undefined> => {
  const redis = new Redis(url, { enableReadyCheck: false, maxRetriesPerRequest: null })
  redis.on('error', () => undefined)
  const end = performance.now() + readyWithinMs
  try {
    await redis.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383)
    while (!String(await redis.call('CLUSTER', 'INFO')).includes('cluster_state:ok')) {
      if (performance.now() > end) throw new Error(`redis in cluster mode was not ready within ${readyWithinMs} ms`)
      await pause(20)
    }
  } finally {
    redis.disconnect()
  }
}
