import type { Random } from '../painting/random.ts'
import { defaultTimes, type FaultName, type FaultRequest } from './fault.ts'

/** The faults that wait to happen, and those that happen by chance. */
export class FaultPlan {
  readonly #random: Random
  readonly #rates: ReadonlyMap<FaultName, number>
  #waiting: (FaultRequest & { times: number })[] = []

  constructor(random: Random, rates: ReadonlyMap<FaultName, number> = new Map()) {
    this.#random = random
    this.#rates = rates
  }

  add(request: FaultRequest): void {
    this.#waiting.push({ ...request, times: request.times ?? defaultTimes(request.fault) })
  }

  clear(): void {
    this.#waiting = []
  }

  /** Whether a lasting fault is on now, without using it up. */
  isOn(fault: FaultName): boolean {
    return this.#waiting.some(waiting => waiting.fault === fault)
  }

  /** Takes a fault whose moment has come: one that was asked for, else one by chance. */
  take(fault: FaultName, classType?: string): FaultRequest | undefined {
    const index = this.#waiting.findIndex(
      waiting => waiting.fault === fault && (!waiting.classType || !classType || waiting.classType === classType)
    )
    const waiting = this.#waiting[index]
    if (!waiting) return this.#byChance(fault)
    waiting.times--
    if (waiting.times <= 0) this.#waiting.splice(index, 1)
    return waiting
  }

  list(): FaultRequest[] {
    return this.#waiting.map(({ times, ...request }) => (Number.isFinite(times) ? { ...request, times } : request))
  }

  #byChance(fault: FaultName): FaultRequest | undefined {
    const rate = this.#rates.get(fault) ?? 0
    return rate > 0 && this.#random() < rate ? { fault } : undefined
  }
}
