import { hostname } from 'node:os'
import { leaveUnstarted } from '@comfy-balancer/service-kit/failed-start'
import { createLogger } from '@comfy-balancer/service-kit/logger'
import { createMetrics } from '@comfy-balancer/service-kit/metrics'
import { redisOptions } from '@comfy-balancer/service-kit/redis-config'
import { logdyOptions } from '@comfy-balancer/service-kit/service-config'
import { measureService } from '@comfy-balancer/service-kit/service-metrics'
import { onShutdown } from '@comfy-balancer/service-kit/shutdown'
import { configuredStore } from '@comfy-balancer/service-kit/store-config'
import { openStore } from '@comfy-balancer/storage/open-store'
import { connect } from '@comfy-balancer/task-store/connection'
import { createApp } from './app.ts'
import { readComfyServiceConfig } from './config.ts'
import { version } from './version.ts'

const start = async (): Promise<void> => {
  const config = readComfyServiceConfig(process.env)
  const node = config.NODE_ID ?? `${hostname()}:${config.PORT}`
  const { logger, close, logdy } = createLogger({
    service: 'comfy-service',
    instance: node,
    level: config.LOG_LEVEL,
    ...logdyOptions(config)
  })
  const connection = await connect(redisOptions(config), logger)
  const store = await openStore(configuredStore(config))
  const metrics = createMetrics({ node })
  const app = await createApp(config, { connection, store, logger, metrics, node })
  const health = measureService(metrics, { version, ping: () => connection.commands.ping(), logdy, log: logger })
  const metricsPort = await metrics.listen({ host: config.METRICS_HOST, port: config.METRICS_PORT })
  onShutdown(
    [
      { name: 'health', deadlineMs: 3_000, run: health.stop },
      ...app.steps,
      { name: 'metrics', deadlineMs: 1_000, run: metrics.close },
      { name: 'log', deadlineMs: 2_000, run: close }
    ],
    logger
  )
  const url = await app.server.listen({ host: config.HOST, port: config.PORT, listenTextResolver: () => 'bound' })
  await app.begin(url)
  logger.info({ url, nodeId: node, comfyui: config.COMFYUI_URL, metricsPort }, 'listening')
}

start().catch(leaveUnstarted)
