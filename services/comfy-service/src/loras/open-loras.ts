import { join } from 'node:path'
import type { Log } from '@comfy-balancer/service-kit/log'
import { s3Options } from '@comfy-balancer/service-kit/store-config'
import { openS3Readers } from '@comfy-balancer/storage/open-store'
import { loraPrefixesOf } from '@comfy-balancer/task-api/config'
import type { ComfyServiceConfig } from '../config.ts'
import { createLoraCache, type LoraCache } from './lora-cache.ts'
import { type LoraFolder, openLoraFolder } from './lora-folder.ts'
import { createFindLora, type LoraOriginDeps } from './lora-origin.ts'

export type OpenLorasDeps = Pick<LoraOriginDeps, 'uploads' | 'store'> & { readonly node: string; readonly log: Log }

/** The LoRAs that come along with tasks, where a models folder is known. Throws when it cannot be written. */
export const openLoras = async (
  config: ComfyServiceConfig,
  { node, log, ...sources }: OpenLorasDeps
): Promise<LoraCache | undefined> => {
  const folder = await folderOf(config, node, log)
  if (!folder) return undefined
  const s3 = s3Options(config)
  const readers = s3 && (await openS3Readers(s3))
  const find = createFindLora({
    ...sources,
    ...(readers ? { bucketOf: readers.of } : {}),
    s3Prefixes: loraPrefixesOf(config)
  })
  const limits = { budgetBytes: config.LORA_CACHE_BYTES, maxBytes: config.LORA_MAX_BYTES }
  return createLoraCache(limits, { folder, find, closeSources: async () => readers?.close(), log })
}

/** A folder that was named must be usable; ComfyUI's own may be there for its outputs only. */
const folderOf = async (
  { COMFYUI_MODELS_DIR, COMFYUI_DIR }: ComfyServiceConfig,
  holder: string,
  log: Log
): Promise<LoraFolder | undefined> => {
  if (COMFYUI_MODELS_DIR !== undefined) return openLoraFolder({ modelsDir: COMFYUI_MODELS_DIR, holder })
  if (COMFYUI_DIR === undefined) return undefined
  return openLoraFolder({ modelsDir: join(COMFYUI_DIR, 'models'), holder }).catch(err => {
    log.info({ err }, 'no loras are taken')
    return undefined
  })
}
