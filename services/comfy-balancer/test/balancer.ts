import { createLogger } from '@comfy-balancer/service-kit/logger'
import type { ObjectStore } from '@comfy-balancer/storage/object-store'
import { type Connection, connect } from '@comfy-balancer/task-store/connection'
import type { Limits } from '@comfy-balancer/task-store/limits'
import { openScratchLedger, type ScratchLedger } from '@comfy-balancer/task-store/scratch-ledger'
import type { Test } from 'tap'
import { createApp } from '../src/app.ts'
import { type ComfyBalancerConfig, readComfyBalancerConfig } from '../src/config.ts'

/** How a balancer is set up; its log goes to `tell`, and nowhere without it. */
export type Setup = {
  readonly env?: NodeJS.ProcessEnv
  readonly limits?: Partial<Limits>
  readonly store?: Partial<ObjectStore> | undefined
  readonly tell?: (line: string) => void
}

/** A balancer and the ledger that it works on. */
export type Balancer = Pick<ScratchLedger, 'ledger' | 'redis'> & {
  readonly url: string
  readonly app: Awaited<ReturnType<typeof createApp>>
  readonly connection: Connection
  readonly config: ComfyBalancerConfig
}

/** A balancer without its loops that listens, on a ledger of its own; both end with the test. */
export const openBalancer = async (t: Test, { env = {}, limits = {}, store, tell }: Setup = {}): Promise<Balancer> => {
  const { ledger, redis, close } = openScratchLedger(limits)
  const config = readComfyBalancerConfig({ REDIS_KEY_PREFIX: ledger.prefix, PORT: '0', ...env })
  const { logger } = createLogger({
    ...{ service: 'comfy-balancer', instance: 'test' },
    ...(tell ? { level: 'trace', destination: { write: tell } } : { level: 'silent' })
  })
  const connection = await connect({ host: redis.options.host!, port: redis.options.port! }, logger)
  t.teardown(async () => {
    await connection.close()
    await close()
  })
  const app = await createApp(config, { connection, store: store as ObjectStore | undefined, logger, balancer: 'b1' })
  t.teardown(async () => {
    await app.feed.stop()
    await app.server.close()
  })
  const url = await app.server.listen({ host: '127.0.0.1', port: 0 })
  return { url, app, connection, ledger, redis, config }
}
