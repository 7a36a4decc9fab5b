import type { VirtualJob } from './virtual-job.ts'

/** What a virtual node is. `speed` 1 runs a job in its own seconds; loading takes the disk's time, whatever the GPU. */
export type VirtualGpu = {
  readonly id: string
  readonly speed: number
  /** 8 GB when left out: one ordinary model, as ComfyUI keeps what the latest prompt used. */
  readonly vramBytes?: number
  readonly holds?: readonly string[]
}

/** What the models of a virtual fleet are. `modelBytes` is 6 GB each when left out. */
export type VirtualModels = {
  readonly loadSeconds: (model: string) => number
  readonly modelBytes?: (model: string) => number
}

/** The size of a model where none is said. */
export const ordinaryBytes = (): number => 6e9
const ordinaryVramBytes = 8e9

type Attempt = {
  readonly job: VirtualJob
  readonly startedMs: number
  readonly loadMs: number
  readonly endsMs: number
}

/** A ComfyUI in virtual time: one prompt at a time, the others in its own queue, models evicted in order of last use until the next one fits. */
export class VirtualNode {
  readonly gpu: VirtualGpu
  readonly queue: VirtualJob[] = []
  attempt: Attempt | undefined
  /** Models in VRAM, the one used last at the end. */
  resident: string[]
  isUp = true
  #models: VirtualModels

  constructor(gpu: VirtualGpu, models: VirtualModels) {
    this.gpu = gpu
    this.resident = [...(gpu.holds ?? [])]
    this.#models = models
  }

  get id(): string {
    return this.gpu.id
  }

  get vramBytes(): number {
    return this.gpu.vramBytes ?? ordinaryVramBytes
  }

  /** Bytes of the models in VRAM. */
  get vramUsedBytes(): number {
    const { modelBytes = ordinaryBytes } = this.#models
    return this.resident.reduce((sum, model) => sum + modelBytes(model), 0)
  }

  /** Prompts in it, the one at work included. */
  get length(): number {
    return this.queue.length + (this.attempt ? 1 : 0)
  }

  /** What its driver would tell: full while a sampler runs, little while a model loads. */
  utilization(nowMs: number): number {
    if (!this.attempt) return 0
    return nowMs - this.attempt.startedMs < this.attempt.loadMs ? 0.1 : 1
  }

  /** Begins its next prompt when it is idle. Returns that attempt. */
  begin(nowMs: number): Attempt | undefined {
    if (this.attempt || !this.isUp) return undefined
    const job = this.queue.shift()
    if (!job) return undefined
    const loadMs = this.resident.includes(job.model) ? 0 : this.#models.loadSeconds(job.model) * 1000
    this.resident = [...this.resident.filter(model => model !== job.model), job.model]
    while (this.vramUsedBytes > this.vramBytes && this.resident.length > 1) this.resident.shift()
    this.attempt = { job, startedMs: nowMs, loadMs, endsMs: nowMs + loadMs + (job.seconds / this.gpu.speed) * 1000 }
    return this.attempt
  }

  /** Dies with all that is in it. Returns those jobs. */
  crash(): VirtualJob[] {
    const inside = [...(this.attempt ? [this.attempt.job] : []), ...this.queue]
    this.attempt = undefined
    this.queue.length = 0
    this.resident = []
    this.isUp = false
    return inside
  }
}
