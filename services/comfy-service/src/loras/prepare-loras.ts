import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import { broughtUsesOf } from '@comfy-balancer/domain/brought-names'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import { every } from '@comfy-balancer/service-kit/every'
import type { Log } from '@comfy-balancer/service-kit/log'
import { InputUnavailable } from '../inputs/input-unavailable.ts'
import type { InputValues } from '../inputs/prepare-inputs.ts'
import type { LoraCache } from './lora-cache.ts'

/** The workflow, the LoRAs that come along, and whose they are; `signal` gives it up. */
export type LoraPreparation = {
  readonly workflow: Workflow
  readonly loras: NonNullable<GenerateRequest['loras']>
  readonly tenant: string
  readonly signal: AbortSignal
}

/** Names to write in place of the caller's, and how to let go of the files when the attempt is over. */
export type PreparedLoras = { readonly values: InputValues; readonly letGo: () => Promise<void> }

const renewMs = 30_000

/** Puts every LoRA that comes along into the models folder and holds it there. Throws InputUnavailable, or the signal's reason. */
export const prepareLoras = async (
  { workflow, loras, tenant, signal }: LoraPreparation,
  { cache, log }: { readonly cache: LoraCache | undefined; readonly log: Log }
): Promise<PreparedLoras> => {
  if (loras.length === 0) return { values: new Map(), letGo: async () => {} }
  if (!cache) throw new InputUnavailable('unreachable', 'this node has no models folder to put LoRAs into')
  const taken: string[] = []
  const letGo = keepHolding(taken, cache, log)
  try {
    const names = new Map<string, string>()
    for (const { name, source, sha256 } of loras) {
      const file = await cache.take({ source, tenant, sha256 }, signal).catch(error => {
        throw named(name, error)
      })
      taken.push(file)
      names.set(name, cache.nameOf(file))
    }
    return { values: valuesOf(workflow, names), letGo }
  } catch (error) {
    await letGo()
    throw error
  }
}

/**
 * Goes on holding what an attempt of a former life held, which is adopted now: ComfyUI may be loading those files. Returns how to let go of
 * them when it is over.
 */
export const holdOn = async ({ loras: cache, log }: HoldOnDeps): Promise<() => Promise<void>> => {
  if (!cache) return async () => {}
  const files = await cache.holding().catch(err => {
    log.warn({ err }, 'loras not held')
    return []
  })
  return files.length === 0 ? async () => {} : keepHolding(files, cache, log)
}

type HoldOnDeps = { readonly loras: LoraCache | undefined; readonly log: Log }

/** Renews the holds on files until they are let go. */
const keepHolding = (files: readonly string[], cache: LoraCache, log: Log): (() => Promise<void>) => {
  const renewal = every({
    name: 'lora holds',
    intervalMs: renewMs,
    log,
    run: async () => void (await Promise.all(files.map(cache.renew)))
  })
  return async () => {
    await renewal.stop()
    await Promise.all(files.map(cache.letGo))
  }
}

const named = (name: string, error: unknown): unknown =>
  error instanceof InputUnavailable
    ? new InputUnavailable(error.reason, `the LoRA ${name} cannot be used: ${error.message}`, { cause: error })
    : error

const valuesOf = (workflow: Workflow, names: ReadonlyMap<string, string>): InputValues => {
  const values = new Map<string, Map<string, string>>()
  for (const { graphNode, input, name } of broughtUsesOf(workflow, new Set(names.keys()))) {
    const inputs = values.get(graphNode) ?? new Map<string, string>()
    values.set(graphNode, inputs.set(input, names.get(name)!))
  }
  return values
}
