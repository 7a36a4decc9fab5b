import type { ComfyUiCare, Gpu, NodeReport } from '@comfy-balancer/contract/node'
import type { Attempt } from './attempt/attempt.ts'
import type { ComfyUi } from './comfyui.ts'
import type { Sampler } from './gpu/sampler.ts'
import type { Residency } from './residency.ts'

export type ReportDeps = {
  readonly comfyui: ComfyUi
  readonly sampler: Sampler
  readonly residency: Residency
  readonly keeper: { readonly care: () => ComfyUiCare | undefined }
}

/**
 * What this node says about itself. `leftovers` counts prompts of ours that ComfyUI has not let go of although no slot is theirs: somebody
 * else's, as far as dispatch goes. The observer may count them too.
 */
export const reportOf = (
  { comfyui, sampler, residency, keeper }: ReportDeps,
  attempt: Attempt | undefined,
  leftovers: number
): NodeReport => {
  const { up, version, queueRemaining, foreign } = comfyui.observer.state()
  const { host } = sampler.latest()
  const care = keeper.care()
  return {
    comfyui: {
      up,
      version: version ?? null,
      queueRemaining,
      foreign: Math.max(foreign, leftovers),
      ...(care && { care })
    },
    gpus: gpusOf(sampler, comfyui),
    host,
    resident: [...residency.models()],
    catalog: comfyui.catalog()?.digest ?? null,
    progress: attempt?.progress() ?? null
  }
}

/** This node's GPUs; where the machine shows none, ComfyUI's own account of its devices. A ComfyUI on the CPU has none. */
export const gpusOf = (sampler: Sampler, comfyui: ComfyUi): Gpu[] => {
  const { gpus } = sampler.latest()
  return gpus.length > 0 ? [...gpus] : gpusOfComfyUi(comfyui)
}

const gpusOfComfyUi = (comfyui: ComfyUi): Gpu[] =>
  (comfyui.stats()?.devices ?? [])
    .filter(device => device.type !== 'cpu')
    .map(({ name, vramTotalBytes, vramFreeBytes }) => ({
      uuid: null,
      name: name.replace(/^\w+:\d+ /, '').replace(/ : \w+$/, ''),
      utilization: null,
      vramTotalBytes: vramTotalBytes ?? null,
      vramUsedBytes:
        vramTotalBytes !== undefined && vramFreeBytes !== undefined ? vramTotalBytes - vramFreeBytes : null,
      temperatureCelsius: null,
      powerWatts: null
    }))
