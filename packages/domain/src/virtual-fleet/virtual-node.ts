import type { VirtualJob } from './virtual-job.ts'

/** What a virtual node is. `speed` 1 runs a job in its own seconds; loading takes the disk's time, whatever the GPU. */
export type VirtualGpu = {
  readonly id: string
  readonly speed: number
  /** So many models stay in its VRAM; 1, as ComfyUI keeps what the latest prompt used, when left out. */
  readonly keeps?: number
  readonly holds?: readonly string[]
}

type Attempt = {
  readonly job: VirtualJob
  readonly startedMs: number
  readonly loadMs: number
  readonly endsMs: number
}

/** A ComfyUI in virtual time: one prompt at a time, the others in its own queue, models evicted in order of last use. */
export class VirtualNode {
  readonly gpu: VirtualGpu
  readonly queue: VirtualJob[] = []
  attempt: Attempt | undefined
  /** Models in VRAM, the one used last at the end. */
  resident: string[]
  isUp = true
  #loadSeconds: (model: string) => number

  constructor(gpu: VirtualGpu, loadSeconds: (model: string) => number) {
    this.gpu = gpu
    this.resident = [...(gpu.holds ?? [])]
    this.#loadSeconds = loadSeconds
  }

  get id(): string {
    return this.gpu.id
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
    const loadMs = this.resident.includes(job.model) ? 0 : this.#loadSeconds(job.model) * 1000
    this.resident = [...this.resident.filter(model => model !== job.model), job.model].slice(-(this.gpu.keeps ?? 1))
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
