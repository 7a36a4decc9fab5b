import type { Gpu, HostLoad } from '@comfy-balancer/contract/node'
import { every } from '@comfy-balancer/service-kit/every'
import type { Log } from '@comfy-balancer/service-kit/log'
import { HostFigures } from './host-figures.ts'
import { type IndexedGpu, readNvidiaSmi } from './nvidia-smi.ts'

/** How often to measure, and which GPU is this node's; without a choice all of them are. */
export type SamplerOptions = {
  readonly intervalMs: number
  readonly logger: Log
  /** Name or path of the program; default `nvidia-smi`. */
  readonly nvidiaSmi?: string
  readonly gpuIndex?: number
  readonly gpuUuid?: string
  /** When nvidia-smi is killed. Default 3 s. */
  readonly nvidiaSmiTimeoutMs?: number
  /** When the worker that runs systeminformation is given up. Default 10 s. */
  readonly watchdogMs?: number
  /** Another worker; for tests. */
  readonly hostWorker?: URL
}

/** The latest figures. `stale` means that a measurement is overdue; the figures are then the last ones known. */
export type Sample = {
  readonly gpus: Gpu[]
  readonly host: HostLoad
  /** When the older of the two halves was measured, by this machine's clock; 0 before the first. */
  readonly measuredAtMs: number
  readonly stale: boolean
}

/** Figures of this machine's GPUs and load, measured in the background. */
export type Sampler = { latest(): Sample; close(): Promise<void> }

/** systeminformation starts several programs to look at graphics cards. */
const graphicsIntervalMs = 10_000
const stalenessIntervals = 3
/** systeminformation samples the CPUs for half a second. */
const hostBoundMs = 2000
/** A hanging program of systeminformation outlives its worker, so it is not started again and again. */
const maxGraphicsTries = 3

/** Starts to measure. GPU figures come from nvidia-smi, or from systeminformation where that is absent; a machine without GPU has none. */
export const createSampler = (options: SamplerOptions): Sampler => {
  const sampling = new Sampling(options)
  const { intervalMs, logger: log } = options
  const loop = { intervalMs, log, jitter: 0.1, deadlineMs: sampling.patienceMs }
  const gpuLoop = every({ ...loop, name: 'gpu figures', run: signal => sampling.measureGpus(signal) })
  const hostLoop = every({ ...loop, name: 'host figures', run: () => sampling.measureHost() })
  return {
    latest: () => sampling.latest(),
    close: async () => {
      sampling.close()
      await Promise.all([gpuLoop.stop(), hostLoop.stop()])
    }
  }
}

class Sampling {
  readonly #options: SamplerOptions
  readonly #host: HostFigures
  readonly #nvidiaSmiTimeoutMs: number
  readonly #watchdogMs: number
  readonly #failing = new Map<string, string>()
  readonly #said = new Set<string>()
  #hasNvidiaSmi = true
  #graphicsTries = 0
  #isClosed = false
  #gpus: Gpu[] = []
  #load: HostLoad = { cpuUtilization: null, memoryTotalBytes: null, memoryUsedBytes: null }
  #gpusAtMs = 0
  #hostAtMs = 0

  constructor(options: SamplerOptions) {
    this.#options = options
    const workerUrl = options.hostWorker ?? new URL('./host-worker.js', import.meta.url)
    this.#nvidiaSmiTimeoutMs = options.nvidiaSmiTimeoutMs ?? 3000
    this.#watchdogMs = options.watchdogMs ?? 10_000
    this.#host = new HostFigures(workerUrl, this.#watchdogMs)
  }

  /** The longest that one measurement may take. */
  get patienceMs(): number {
    return Math.max(this.#nvidiaSmiTimeoutMs, this.#watchdogMs) + 500
  }

  latest(): Sample {
    const { intervalMs } = this.#options
    const gpuBoundMs = this.#hasNvidiaSmi ? this.#nvidiaSmiTimeoutMs : graphicsIntervalMs + this.#watchdogMs
    const nowMs = Date.now()
    const isLate = (atMs: number, boundMs: number): boolean => nowMs - atMs > stalenessIntervals * intervalMs + boundMs
    const stale = isLate(this.#gpusAtMs, gpuBoundMs) || isLate(this.#hostAtMs, hostBoundMs)
    return { gpus: this.#gpus, host: this.#load, measuredAtMs: Math.min(this.#gpusAtMs, this.#hostAtMs), stale }
  }

  async measureGpus(signal: AbortSignal): Promise<void> {
    await this.#attempt('gpu', async () => {
      if (this.#hasNvidiaSmi && (await this.#askNvidiaSmi(signal))) return
      if (Date.now() - this.#gpusAtMs < graphicsIntervalMs) return
      await this.#askGraphics()
    })
  }

  async measureHost(): Promise<void> {
    await this.#attempt('host', async () => {
      const answer = await this.#host.ask('host')
      if (answer === undefined || !('host' in answer)) return
      this.#load = answer.host
      this.#hostAtMs = Date.now()
      this.#recovered('host')
    })
  }

  close(): void {
    this.#isClosed = true
    this.#host.close()
  }

  async #askNvidiaSmi(signal: AbortSignal): Promise<boolean> {
    const { nvidiaSmi = 'nvidia-smi' } = this.#options
    try {
      this.#keep(await readNvidiaSmi(nvidiaSmi, this.#nvidiaSmiTimeoutMs, signal))
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      this.#hasNvidiaSmi = false
      this.#options.logger.warn({ nvidiaSmi }, 'nvidia-smi not found; GPU figures come from systeminformation')
      return false
    }
  }

  async #askGraphics(): Promise<void> {
    if (this.#graphicsTries >= maxGraphicsTries) return
    this.#graphicsTries++
    const answer = await this.#host.ask('graphics')
    if (answer === undefined) this.#graphicsTries--
    if (answer === undefined || !('gpus' in answer)) return
    this.#graphicsTries = 0
    this.#keep(answer.gpus.map((gpu, index) => ({ ...gpu, index })))
  }

  #keep(found: readonly IndexedGpu[]): void {
    const { gpuIndex, gpuUuid, logger } = this.#options
    const mine = found.filter(gpu => (gpuIndex ?? gpu.index) === gpu.index && (gpuUuid ?? gpu.uuid) === gpu.uuid)
    if (found.length === 0 && this.#once('none')) logger.info({}, 'no GPU found')
    if (found.length > 0 && mine.length === 0 && this.#once('not mine')) {
      logger.warn({ gpuIndex, gpuUuid, found: found.map(gpu => gpu.uuid) }, 'the chosen GPU is not in this machine')
    }
    this.#gpus = mine.map(({ index, ...gpu }) => gpu)
    this.#gpusAtMs = Date.now()
    this.#recovered('gpu')
  }

  async #attempt(what: string, measure: () => Promise<void>): Promise<void> {
    try {
      await measure()
    } catch (err) {
      const message = err instanceof Error ? err.message : String(err)
      if (this.#isClosed || this.#failing.get(what) === message) return
      this.#failing.set(what, message)
      this.#options.logger.warn({ what, err }, 'figures cannot be measured; the last ones stay')
    }
  }

  #recovered(what: string): void {
    if (this.#failing.delete(what)) this.#options.logger.info({ what }, 'figures are measured again')
  }

  #once(what: string): boolean {
    if (this.#said.has(what)) return false
    this.#said.add(what)
    return true
  }
}
