import { type ConfigRule, folderPath, httpUrl, instanceName, readConfig } from '@comfy-balancer/service-kit/config'
import { egressConfig, egressRule } from '@comfy-balancer/service-kit/egress-config'
import { metricsConfig, metricsRule } from '@comfy-balancer/service-kit/metrics'
import { redisConfig, redisRule } from '@comfy-balancer/service-kit/redis-config'
import { serviceConfig, serviceRule } from '@comfy-balancer/service-kit/service-config'
import { storeConfig, storeRule } from '@comfy-balancer/service-kit/store-config'
import { taskApiConfig } from '@comfy-balancer/task-api/config'
import { ledgerConfig } from '@comfy-balancer/task-store/config'
import { webhookConfig, webhookRule } from '@comfy-balancer/webhooks/config'
import { type Static, Type } from '@sinclair/typebox'
import { careConfig, careRule } from './care/config.ts'

/** Every variable that comfy-service reads. */
export const ComfyServiceConfig = Type.Object({
  ...serviceConfig({ port: 8090, logdyPort: 8233 }),
  ...metricsConfig({ port: 9464 }),
  ...redisConfig,
  ...ledgerConfig,
  ...taskApiConfig,
  ...storeConfig,
  ...egressConfig,
  ...webhookConfig,
  COMFYUI_URL: httpUrl({ default: 'http://127.0.0.1:8188', description: 'The ComfyUI that this service wraps' }),
  COMFYUI_DIR: Type.Optional(
    folderPath({
      description:
        "ComfyUI's own folder, with output, input and temp, where this service shares it: our files there are removed after use"
    })
  ),
  ...careConfig,
  NODE_ID: Type.Optional(
    instanceName({ description: 'Name of this node, in the fleet and in the log. Default: the host name and port' })
  ),
  NODE_URL: Type.Optional(
    httpUrl({ description: 'The address that others reach this service under. Default: where it listens' })
  ),
  NODE_LABELS: Type.String({ default: '', description: 'name=value, comma-separated; tasks choose by them' }),
  GPU_INDEX: Type.Optional(
    Type.Integer({ minimum: 0, maximum: 255, description: "This node's GPU, as nvidia-smi counts" })
  ),
  GPU_UUID: Type.Optional(
    Type.String({
      pattern: '^[A-Za-z0-9-]{1,80}$',
      rule: 'must be letters, digits and hyphens',
      description: 'The same by its UUID'
    })
  ),
  HEARTBEAT_MS: Type.Integer({
    minimum: 50,
    maximum: 10_000,
    default: 1_000,
    description: 'How often this node reports; NODE_ALIVE_MS and LEASE_MS must be twice that at least'
  }),
  COMFYUI_SILENT_SECONDS: Type.Integer({
    minimum: 1,
    maximum: 86_400,
    default: 300,
    description: 'A prompt without any sign of life for so long hangs; loading a large model is silent for minutes'
  }),
  COMFYUI_CANCEL_SECONDS: Type.Integer({
    minimum: 1,
    maximum: 3_600,
    default: 60,
    description: 'How long ComfyUI is given to let go of a prompt before its node counts as occupied'
  }),
  COMFYUI_MODELS_DIR: Type.Optional(
    folderPath({
      description: "ComfyUI's models folder, where this service can write to it: then it takes LoRAs that come along"
    })
  ),
  LORA_CACHE_BYTES: Type.Integer({
    minimum: 1_048_576,
    default: 21_474_836_480,
    description: 'Of all LoRAs that this service put into the models folder'
  }),
  LORA_MAX_BYTES: Type.Integer({ minimum: 1_024, default: 4_294_967_296, description: 'Of one LoRA' }),
  MAX_OUTPUT_BYTES: Type.Integer({ minimum: 1_024, default: 10_737_418_240, description: 'Of one file' })
})
export type ComfyServiceConfig = Static<typeof ComfyServiceConfig>

/** Reads the configuration from the environment. Throws ConfigError with every fault. */
export const readComfyServiceConfig = (env: NodeJS.ProcessEnv): ComfyServiceConfig =>
  readConfig(ComfyServiceConfig, env, [
    ...[serviceRule, metricsRule, redisRule, egressRule, storeRule, webhookRule],
    ...[labelsRule, heartbeatRule, careRule]
  ])

const labelsRule = ({ NODE_LABELS }: Partial<ComfyServiceConfig>) =>
  (NODE_LABELS ?? '').split(',').every(pair => pair.trim() === '' || /^[^=\s]{1,64}=[^=]{1,256}$/.test(pair.trim()))
    ? []
    : [{ name: 'NODE_LABELS', message: 'must be name=value pairs, comma-separated' }]

/** Refuses heartbeats so far apart that one late one would cost the node its slot, or its place in dispatch. */
const heartbeatRule: ConfigRule<ComfyServiceConfig> = ({ HEARTBEAT_MS, ...limits }) =>
  (['LEASE_MS', 'NODE_ALIVE_MS'] as const).flatMap(name => {
    const ms = limits[name]
    if (ms === undefined || HEARTBEAT_MS === undefined || ms >= 2 * HEARTBEAT_MS) return []
    return [{ name, message: `must be at least twice HEARTBEAT_MS (${ms} is less than 2 × ${HEARTBEAT_MS})` }]
  })

/** The labels of NODE_LABELS. */
export const labelsOf = (text: string): Record<string, string> =>
  Object.fromEntries(
    text
      .split(',')
      .map(pair => pair.trim())
      .filter(pair => pair !== '')
      .map(pair => pair.split('=', 2) as [string, string])
  )
