import { hostname } from 'node:os'
import { ConfigError } from '@comfy-balancer/service-kit/config'
import { createLogger } from '@comfy-balancer/service-kit/logger'
import { redisOptions } from '@comfy-balancer/service-kit/redis-config'
import { onShutdown } from '@comfy-balancer/service-kit/shutdown'
import { openStore } from '@comfy-balancer/storage/open-store'
import { connect } from '@comfy-balancer/task-store/connection'
import { createApp } from './app.ts'
import { readComfyBalancerConfig } from './config.ts'

const start = async (): Promise<void> => {
  const config = readComfyBalancerConfig(process.env)
  const balancer = config.BALANCER_ID ?? `${hostname()}:${process.pid}`
  const { logger, close } = createLogger({
    service: 'comfy-balancer',
    instance: balancer,
    level: config.LOG_LEVEL,
    ...(config.LOG_LOGDY_HOST === undefined
      ? {}
      : {
          logdy: { host: config.LOG_LOGDY_HOST, port: config.LOG_LOGDY_PORT, queueBytes: config.LOG_LOGDY_QUEUE_BYTES }
        })
  })
  const connection = await connect(redisOptions(config), logger)
  const store = await openStore(config.OUTPUT_STORE)
  const app = await createApp(config, { connection, store, logger, balancer })
  onShutdown([...app.steps, { name: 'log', deadlineMs: 2_000, run: close }], logger)
  const url = await app.server.listen({ host: config.HOST, port: config.PORT, listenTextResolver: () => 'bound' })
  app.begin()
  logger.info({ url }, 'listening')
}

start().catch((error: unknown) => {
  process.stderr.write(
    `${error instanceof ConfigError || !(error instanceof Error) ? String(error) : (error.stack ?? error.message)}\n`
  )
  process.exit(1)
})
