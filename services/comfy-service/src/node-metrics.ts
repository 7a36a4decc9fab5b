import type { Gpu, NodeReport } from '@comfy-balancer/contract/node'
import type { Metrics } from '@comfy-balancer/service-kit/metrics'

/** What this node's metrics are made of, as it stands in memory. */
export type NodeMetricsDeps = {
  readonly report: () => Pick<NodeReport, 'comfyui' | 'gpus' | 'host'>
  readonly isBusy: () => boolean
}

const gpuFigures = [
  ['comfy_gpu_utilization_ratio', '0 to 1, as nvidia-smi tells', gpu => gpu.utilization],
  ['comfy_gpu_memory_used_bytes', 'VRAM in use by anybody', gpu => gpu.vramUsedBytes],
  ['comfy_gpu_memory_total_bytes', 'VRAM there is', gpu => gpu.vramTotalBytes],
  ['comfy_gpu_temperature_celsius', 'Of the chip', gpu => gpu.temperatureCelsius],
  ['comfy_gpu_power_watts', 'Drawn now', gpu => gpu.powerWatts]
] as const satisfies readonly (readonly [string, string, (gpu: Gpu) => number | null])[]

const nodeFigures = [
  ['comfy_comfyui_up', '1 while ComfyUI answers', ({ comfyui }) => Number(comfyui.up)],
  [
    'comfy_comfyui_foreign_prompts',
    "Prompts in ComfyUI's queue that are not ours; the node is given nothing meanwhile",
    ({ comfyui }) => comfyui.foreign
  ],
  ['comfy_host_cpu_ratio', "Share of the machine's CPUs in use", ({ host }) => host.cpuUtilization],
  ['comfy_host_memory_used_bytes', "The machine's memory in use", ({ host }) => host.memoryUsedBytes],
  ['comfy_host_memory_total_bytes', "The machine's memory", ({ host }) => host.memoryTotalBytes]
] as const satisfies readonly (readonly [string, string, (report: NodeReport) => number | null])[]

/**
 * Shows the figures that this node reports with its heartbeats: each node shows its own GPUs, so that nothing is told twice however many
 * balancers there are. What the machine does not tell is absent, not 0.
 */
export const measureNode = (metrics: Metrics, { report, isBusy }: NodeMetricsDeps): void => {
  for (const [name, help, read] of nodeFigures) {
    metrics.gauge({
      name,
      help,
      collect() {
        this.reset()
        const value = read(report() as NodeReport)
        if (value === null) this.remove()
        else this.set(value)
      }
    })
  }
  for (const [name, help, read] of gpuFigures) {
    metrics.gauge({
      name,
      help,
      labelNames: ['gpu', 'gpu_uuid'],
      collect() {
        this.reset()
        for (const [index, gpu] of report().gpus.entries()) {
          const value = read(gpu)
          if (value !== null) this.set({ gpu: String(index), gpu_uuid: gpu.uuid ?? '' }, value)
        }
      }
    })
  }
  metrics.gauge({
    name: 'comfy_slot_busy',
    help: '1 while this node runs an attempt',
    collect() {
      this.set(isBusy() ? 1 : 0)
    }
  })
}
