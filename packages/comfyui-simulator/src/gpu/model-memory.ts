import type { Clock } from './clock.ts'
import type { ModelCatalogue } from './model-catalogue.ts'

/** What one simulated GPU holds and how fast it loads. */
export interface ModelMemoryOptions {
  vramBytes: number
  loadBytesPerSecond: number
}

/** How often a model was brought in from disk, and how often again after it had left the GPU. */
export interface LoadCounter {
  loads: number
  reloads: number
}

const copySpeedUp = 4

/** The models in VRAM, least recently used first. Loading takes time by size and pushes out the oldest ones. */
export class ModelMemory {
  readonly #options: ModelMemoryOptions
  readonly #clock: Clock
  readonly #catalogue: ModelCatalogue
  readonly #resident = new Map<string, number>()
  readonly #inRam = new Set<string>()
  readonly #counters = new Map<string, LoadCounter>()

  constructor(options: ModelMemoryOptions, clock: Clock, catalogue: ModelCatalogue) {
    this.#options = options
    this.#clock = clock
    this.#catalogue = catalogue
  }

  /** Makes a model resident: from disk at load speed, from RAM four times as fast, at once when it is there. */
  async use(name: string): Promise<void> {
    const held = this.#resident.get(name)
    if (held !== undefined) {
      this.#resident.delete(name)
      this.#resident.set(name, held)
      return
    }
    const bytes = this.#catalogue.bytesOf(name)
    const speed = this.#options.loadBytesPerSecond * (this.#inRam.has(name) ? copySpeedUp : 1)
    this.#makeRoom(bytes)
    await this.#clock.sleep(bytes / speed)
    this.#count(name)
    this.#resident.set(name, Math.min(bytes, this.#options.vramBytes))
    this.#inRam.add(name)
  }

  /** Forgets every model that no cached node output refers to any more, as Python's garbage collector would. */
  keepOnly(names: Set<string>): void {
    for (const name of [...this.#inRam]) if (!names.has(name)) this.#inRam.delete(name)
    for (const name of [...this.#resident.keys()]) if (!names.has(name)) this.#resident.delete(name)
  }

  /** Moves every model out of VRAM; the weights stay in RAM. */
  unload(): void {
    this.#resident.clear()
  }

  resident(): { name: string; bytes: number }[] {
    return [...this.#resident].map(([name, bytes]) => ({ name, bytes }))
  }

  counters(): Record<string, LoadCounter> {
    return Object.fromEntries([...this.#counters].map(([name, counter]) => [name, { ...counter }]))
  }

  get usedBytes(): number {
    return [...this.#resident.values()].reduce((sum, bytes) => sum + bytes, 0)
  }

  get totalBytes(): number {
    return this.#options.vramBytes
  }

  #makeRoom(bytes: number): void {
    for (const [name, held] of this.#resident) {
      if (this.usedBytes + bytes <= this.#options.vramBytes) return
      this.#resident.delete(name)
      if (held === 0) return
    }
  }

  #count(name: string): void {
    const counter = this.#counters.get(name) ?? { loads: 0, reloads: 0 }
    counter.loads++
    if (counter.loads > 1) counter.reloads++
    this.#counters.set(name, counter)
  }
}
