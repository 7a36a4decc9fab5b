import type { ComfyUiHttp } from '@comfy-balancer/comfyui/http'
import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import type { Capability } from '@comfy-balancer/domain/capability'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { InputShelf } from '../inputs/input-shelf.ts'
import { mergedValues } from '../inputs/merged-values.ts'
import { prepareInputs } from '../inputs/prepare-inputs.ts'
import type { LoraCache } from '../loras/lora-cache.ts'
import { type PreparedLoras, prepareLoras } from '../loras/prepare-loras.ts'

/** A request whose files are to be put in place; `signal` gives it up. */
export type Errand = {
  readonly body: string
  readonly workflow: Workflow
  readonly outputs: readonly string[]
  readonly capability: Capability
  readonly tenant: string
  readonly signal: AbortSignal
}

export type BringFilesDeps = {
  readonly http: Pick<ComfyUiHttp, 'upload' | 'statOf'>
  readonly shelf: InputShelf
  readonly loras: LoraCache | undefined
  readonly log: Log
}

/** Puts everything in place that comes along with a request. Throws InputUnavailable, ComfyUiError, or the signal's reason. */
export const bringFiles = async (
  { body, ...errand }: Errand,
  { http, shelf, loras: cache, log }: BringFilesDeps
): Promise<PreparedLoras> => {
  const { inputs: brought = {}, loras = [] } = JSON.parse(body) as GenerateRequest
  const prepared = await prepareLoras({ ...errand, loras }, { cache, log })
  try {
    const values = await prepareInputs({ ...errand, brought }, { http, shelf, log })
    return { values: mergedValues(values, prepared.values), letGo: prepared.letGo }
  } catch (error) {
    await prepared.letGo()
    throw error
  }
}
