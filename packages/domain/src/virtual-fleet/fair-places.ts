import type { Flow } from '../policy.ts'

/** Start-time fair queueing as `enqueue`, `claim` and `complete` keep it in the ledger (ledger-model/transitions.ts). */
export class FairPlaces {
  #virtual = 0
  #starts = new Map<string, number>()
  #overtaken = new Map<string, number>()
  #weights: Readonly<Record<string, number>>

  constructor(weights: Readonly<Record<string, number>>) {
    this.#weights = weights
  }

  /** A tenant that had nothing waiting has something: it starts where the fleet is. */
  joined(tenant: string): void {
    this.#starts.set(tenant, Math.max(this.#virtual, this.#startOf(tenant)))
  }

  claimed(tenant: string, predictedSeconds: number, overtakes: readonly string[]): void {
    const start = Math.max(this.#virtual, this.#startOf(tenant))
    if (overtakes.length === 0) this.#virtual = start
    this.#starts.set(tenant, start)
    this.charge(tenant, predictedSeconds)
    this.#overtaken.delete(tenant)
    for (const other of overtakes) this.#overtaken.set(other, (this.#overtaken.get(other) ?? 0) + 1)
  }

  /** Charges GPU-seconds; a correction when negative. */
  charge(tenant: string, seconds: number): void {
    this.#starts.set(tenant, this.#startOf(tenant) + seconds / this.#weightOf(tenant))
  }

  flow(tenant: string): Flow {
    const overtaken = this.#overtaken.get(tenant) ?? 0
    return { start: this.#startOf(tenant), overtaken, weight: this.#weightOf(tenant) }
  }

  #startOf(tenant: string): number {
    return this.#starts.get(tenant) ?? 0
  }

  #weightOf(tenant: string): number {
    return this.#weights[tenant] ?? 1
  }
}
