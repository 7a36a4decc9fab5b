import { httpUrl, instanceName, readConfig } from '@comfy-balancer/service-kit/config'
import { egressConfig, egressRule } from '@comfy-balancer/service-kit/egress-config'
import { metricsConfig, metricsRule } from '@comfy-balancer/service-kit/metrics'
import { redisConfig, redisRule } from '@comfy-balancer/service-kit/redis-config'
import { serviceConfig, serviceRule } from '@comfy-balancer/service-kit/service-config'
import { storeConfig, storeRule } from '@comfy-balancer/service-kit/store-config'
import { taskApiConfig } from '@comfy-balancer/task-api/config'
import { ledgerConfig } from '@comfy-balancer/task-store/config'
import { webhookConfig, webhookRule } from '@comfy-balancer/webhooks/config'
import { type Static, Type } from '@sinclair/typebox'

/** Every variable that comfy-balancer reads. */
export const ComfyBalancerConfig = Type.Object({
  ...serviceConfig({ port: 8080, logdyPort: 8234 }),
  ...metricsConfig({ port: 9465 }),
  ...redisConfig,
  ...ledgerConfig,
  ...taskApiConfig,
  ...storeConfig,
  ...egressConfig,
  ...webhookConfig,
  LOGDY_UI_URL: Type.Optional(
    httpUrl({
      rule: 'must be the address of logdy as a browser reaches it, such as http://127.0.0.1:8081',
      description: 'Where the dashboard opens logdy. Absent: it offers none'
    })
  ),
  BALANCER_ID: Type.Optional(
    instanceName({ description: 'Name of this balancer in the log. Default: the host name and process id' })
  )
})
export type ComfyBalancerConfig = Static<typeof ComfyBalancerConfig>

/** Reads the configuration from the environment. Throws ConfigError with every fault. */
export const readComfyBalancerConfig = (env: NodeJS.ProcessEnv): ComfyBalancerConfig =>
  readConfig(ComfyBalancerConfig, env, [serviceRule, metricsRule, redisRule, egressRule, storeRule, webhookRule])
