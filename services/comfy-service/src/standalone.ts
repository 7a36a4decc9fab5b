import { startDispatchLoops } from '@comfy-balancer/dispatch/loops'
import type { NodeRegistry } from '@comfy-balancer/dispatch/node-registry'
import { every } from '@comfy-balancer/service-kit/every'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Hints } from '@comfy-balancer/task-store/hints'
import type { Ledger } from '@comfy-balancer/task-store/ledger'

export type StandaloneDeps = {
  readonly ledger: Ledger
  readonly hints: Hints
  readonly registry: NodeRegistry
  readonly log: Log
  readonly reconnect: () => void
  readonly node: string
}

const lookMs = 1_000

/** Runs the dispatch loops for this node's own slot whenever no balancer shows itself. Returns how to stop. */
export const startStandalone = ({ node, ...deps }: StandaloneDeps): (() => Promise<void>) => {
  const { ledger, log } = deps
  let stopLoops: (() => Promise<void>) | undefined
  const watch = every({
    name: 'standalone',
    intervalMs: lookMs,
    log,
    run: async () => {
      const hasBalancer = await ledger.nodes.hasBalancer()
      if (hasBalancer === (stopLoops === undefined)) return
      log.info(
        { standalone: !hasBalancer },
        hasBalancer ? 'a balancer dispatches' : 'no balancer: this node dispatches for itself'
      )
      if (!hasBalancer) {
        stopLoops = startDispatchLoops({ ...deps, as: { node } })
        return
      }
      const stop = stopLoops
      stopLoops = undefined
      await stop?.()
    }
  })
  return async () => {
    await watch.stop()
    await stopLoops?.()
  }
}
