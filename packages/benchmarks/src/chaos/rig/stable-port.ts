import { freePort } from '@comfy-balancer/local/port'

/** Below what systems give to outgoing connections, so that a port is still free when its program comes back. */
const [least, most] = [10_000, 32_000]
const taken = new Set<number>()

/** A free port of loopback that stays free while its program is down. */
export const stablePort = async (): Promise<number> => {
  for (;;) {
    const wanted = least + Math.floor(Math.random() * (most - least))
    if (taken.has(wanted) || (await freePort(wanted)) !== wanted) continue
    taken.add(wanted)
    return wanted
  }
}
