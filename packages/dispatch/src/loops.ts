import { every, type Loop } from '@comfy-balancer/service-kit/every'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Hints } from '@comfy-balancer/task-store/hints'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import { createDispatcher } from './dispatcher.ts'
import type { NodeRegistry } from './node-registry.ts'
import { createNodeWatch } from './node-watch.ts'
import { logSweep } from './sweep-log.ts'
import { type DispatchTally, noTally } from './tally.ts'
import { createWatchdog, throwUncaught } from './watchdog.ts'

export type DispatchLoopsDeps = {
  readonly ledger: Ledger
  readonly hints: Hints
  readonly registry: NodeRegistry
  readonly log: Log
  readonly tally?: DispatchTally
  /** Opens the connection to the ledger anew, when dispatch is stuck. */
  readonly reconnect: () => void
  /** The balancer that runs them; a comfy-service on its own gives its node instead. */
  readonly as: { readonly balancer: string } | { readonly node: string }
}

/** Dispatch looks at least this often, whatever hints were lost; sweeps come this often from every balancer (dispatch.md). */
const safetyTickMs = 250
const sweepMs = 500
const presenceMs = 1_000
const watchMs = 1_000

/** Starts the loops that place tasks and take back those whose node is gone. Any number of processes may run them. Returns how to stop. */
export const startDispatchLoops = (deps: DispatchLoopsDeps): (() => Promise<void>) => {
  const { ledger, hints, registry, log, as, reconnect, tally = noTally } = deps
  const watchdog = createWatchdog({ ask: () => ledger.nodes.now(), reconnect, giveUp: throwUncaught, log })
  const onlyNode = 'node' in as ? { onlyNode: as.node } : {}
  const dispatch = createDispatcher({ ledger, registry, log, onWell: watchdog.well, tally, ...onlyNode })
  const guard = every({ name: 'watchdog', intervalMs: watchMs, log, run: watchdog.look })
  const dispatcher = every({
    name: 'dispatcher',
    intervalMs: safetyTickMs,
    log,
    run: async signal => void (await dispatch(signal))
  })
  const recoverer = every({
    name: 'recoverer',
    intervalMs: sweepMs,
    jitter: 0.3,
    log,
    run: async () => {
      const sweep = await ledger.recovery.sweep()
      logSweep(sweep, log)
      tally.recovered('lease-expired', sweep.recovered)
    }
  })
  const stopHint = hints.onDispatch(() => dispatcher.wake())
  const balancing = 'balancer' in as ? startBalancerLoops({ ledger, log, tally }, as.balancer) : []
  return async () => {
    stopHint()
    await Promise.all([dispatcher, recoverer, guard, ...balancing].map(loop => loop.stop()))
  }
}

type BalancerLoopsDeps = { readonly ledger: Ledger; readonly log: Log; readonly tally: DispatchTally }

const startBalancerLoops = (deps: BalancerLoopsDeps, balancer: string): Pick<Loop, 'stop'>[] => {
  const { ledger, log } = deps
  const watch = createNodeWatch(deps)
  const presence = every({
    name: 'presence',
    intervalMs: presenceMs,
    log,
    run: () => ledger.nodes.balancerBeat(balancer)
  })
  const watcher = every({
    name: 'node watch',
    intervalMs: watchMs,
    log,
    run: async () => {
      const { nodes, nowMs } = await ledger.nodes.list()
      watch.follow(nodes.filter(node => ledger.nodes.isAlive(node, nowMs)))
    }
  })
  return [presence, watcher, { stop: async () => watch.close() }]
}
