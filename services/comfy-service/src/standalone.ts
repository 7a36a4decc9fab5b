import { every } from '@comfy-balancer/service-kit/every'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Ledger } from '@comfy-balancer/task-store/ledger'

export type StandaloneDeps = {
  readonly ledger: Ledger
  readonly log: Log
  /** What a balancer does otherwise, each part giving the way to stop it. */
  readonly start: readonly (() => () => Promise<void>)[]
}

const lookMs = 1_000

/** Does a balancer's work whenever none shows itself: dispatch for this node's own slot, and webhooks. Returns how to stop. */
export const startStandalone = ({ ledger, log, start }: StandaloneDeps): (() => Promise<void>) => {
  let running: (() => Promise<void>)[] | undefined

  const stop = async (): Promise<void> => {
    const stops = running ?? []
    running = undefined
    await Promise.all(stops.map(one => one()))
  }

  const watch = every({
    name: 'standalone',
    intervalMs: lookMs,
    log,
    run: async () => {
      const hasBalancer = await ledger.nodes.hasBalancer()
      if (hasBalancer === (running === undefined)) return
      log.info(
        { standalone: !hasBalancer },
        hasBalancer ? 'a balancer dispatches' : 'no balancer: this node dispatches for itself'
      )
      if (hasBalancer) await stop()
      else running = start.map(one => one())
    }
  })
  return async () => {
    await watch.stop()
    await stop()
  }
}
