/** Who was turned away comes back within a minute, however many wait. */
const maxAheadMs = 60_000
const leastStepMs = 5
const firstGuessMs = 250
const maxHosts = 10_000

type Host = { active: number; isFailing: boolean; meanMs: number; nextMs: number }

/**
 * Bounds how many deliveries go to one host at once, so that a slow or dead one takes few of this process's places. Whoever is turned away
 * is given a time to come back, each a later one, as fast as the host has been taking them.
 */
export class HostGate {
  readonly #limit: number
  readonly #hosts = new Map<string, Host>()

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Lets a delivery to this host in, or says after how many ms to come back. Whoever is let in must `leave`. */
  enter(name: string, nowMs: number): 'in' | number {
    const host = this.#host(name, nowMs)
    const places = host.isFailing ? 1 : this.#limit
    if (host.active < places) {
      host.active++
      return 'in'
    }
    const stepMs = Math.max(leastStepMs, host.meanMs / places)
    host.nextMs = Math.min(Math.max(host.nextMs, nowMs) + stepMs, nowMs + maxAheadMs)
    return host.nextMs - nowMs
  }

  /** `answered`: whether the host said anything at all. */
  leave(name: string, { tookMs, answered }: { readonly tookMs: number; readonly answered: boolean }): void {
    const host = this.#hosts.get(name)
    if (!host) return
    host.active--
    host.isFailing = !answered
    host.meanMs += 0.3 * (tookMs - host.meanMs)
  }

  #host(name: string, nowMs: number): Host {
    const known = this.#hosts.get(name)
    if (known) return known
    if (this.#hosts.size >= maxHosts) this.#forget(nowMs)
    const host = { active: 0, isFailing: false, meanMs: firstGuessMs, nextMs: nowMs }
    this.#hosts.set(name, host)
    return host
  }

  #forget(nowMs: number): void {
    for (const [name, { active, nextMs }] of this.#hosts) {
      if (active === 0 && nextMs <= nowMs) this.#hosts.delete(name)
    }
  }
}
