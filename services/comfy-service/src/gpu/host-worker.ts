import { parentPort } from 'node:worker_threads'
import type { Gpu, HostLoad } from '@comfy-balancer/contract/node'
import si from 'systeminformation'

/** What the sampler asks the worker for. */
export type HostQuestion = { readonly id: number; readonly what: 'host' | 'graphics' }

/** What the worker answers. */
export type HostAnswer =
  | { readonly id: number; readonly host: HostLoad }
  | { readonly id: number; readonly gpus: Gpu[] }
  | { readonly id: number; readonly error: string }

const mebibyte = 1_048_576
const smallestGpuMebibytes = 1024
let hasBaseline = false

/** The first reading of the CPUs has nothing to compare with, so it is null. */
const readHost = async (): Promise<HostLoad> => {
  const [load, memory] = await Promise.all([si.currentLoad(), si.mem()])
  const cpuUtilization = hasBaseline ? Math.round(load.currentLoad * 10) / 1000 : null
  hasBaseline = true
  return { cpuUtilization, memoryTotalBytes: memory.total, memoryUsedBytes: memory.total - memory.available }
}

type Controller = si.Systeminformation.GraphicsControllerData

const readGraphics = async (): Promise<Gpu[]> => {
  const { controllers } = await si.graphics()
  return controllers.filter(isGpu).map(toGpu)
}

/** Server boards carry a small display chip that computes nothing. */
const isGpu = (controller: Controller): boolean =>
  /nvidia|advanced micro|amd|apple/i.test(controller.vendor) ||
  (controller.memoryTotal ?? controller.vram ?? 0) >= smallestGpuMebibytes

/** systeminformation drops a reading of 0, so absence means 0 where the card tells its memory, and unknown elsewhere. */
const toGpu = (controller: Controller): Gpu => {
  const tells = controller.memoryTotal !== undefined
  const total = controller.memoryTotal ?? controller.vram
  const orZero = (figure: number | undefined): number | null => figure ?? (tells ? 0 : null)
  const used = orZero(controller.memoryUsed)
  const utilization = orZero(controller.utilizationGpu)
  return {
    uuid: null,
    name: controller.name || controller.model || controller.vendor,
    utilization: utilization === null ? null : utilization / 100,
    vramTotalBytes: total ? total * mebibyte : null,
    vramUsedBytes: used === null ? null : used * mebibyte,
    temperatureCelsius: controller.temperatureGpu ?? null,
    powerWatts: controller.powerDraw ?? null
  }
}

const answer = async ({ id, what }: HostQuestion): Promise<HostAnswer> => {
  try {
    return what === 'host' ? { id, host: await readHost() } : { id, gpus: await readGraphics() }
  } catch (error) {
    return { id, error: error instanceof Error ? error.message : String(error) }
  }
}

parentPort?.on('message', async (question: HostQuestion) => parentPort?.postMessage(await answer(question)))
