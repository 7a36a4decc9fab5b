import type { Log } from '@comfy-balancer/service-kit/log'

/** Dispatch that gets nowhere for so long is helped (dispatch.md). */
const stuckMs = 10_000

export type WatchdogDeps = {
  /** Rejects while the ledger does not answer. */
  readonly ask: () => Promise<unknown>
  /** Opens the connection to the ledger anew. */
  readonly reconnect: () => void
  /** Ends the process, for its supervisor to start another. */
  readonly giveUp: (error: Error) => void
  readonly log: Log
  readonly now?: () => number
}

export type Watchdog = ReturnType<typeof createWatchdog>

/**
 * Notices that tasks wait and willing nodes are there, yet none is dispatched: first it connects anew, then, if the ledger answers and it
 * is still so, it gives up. A ledger that is away is nothing to give up for.
 */
export const createWatchdog = ({ ask, reconnect, giveUp, log, now = () => performance.now() }: WatchdogDeps) => {
  let wellAtMs = now()
  let hasReconnected = false
  return {
    /** A look at what waits got through, and what it decided was taken, or it found nothing to place. */
    well: (): void => {
      wellAtMs = now()
      hasReconnected = false
    },

    /** Acts if dispatch has been stuck for too long; to be called every second or so. */
    look: async (): Promise<void> => {
      const stuckForMs = now() - wellAtMs
      if (stuckForMs < stuckMs) return
      if (!hasReconnected) {
        hasReconnected = true
        wellAtMs = now()
        log.error({ errorSource: 'ours', stuckForMs }, 'dispatch is stuck: connecting anew')
        return reconnect()
      }
      await ask()
      giveUp(new Error(`dispatch has been stuck for ${Math.round(stuckForMs / 1000)} s after connecting anew`))
    }
  }
}

/** Ends the process in order and with 1: what nobody catches does (service-kit/shutdown). */
export const throwUncaught = (error: Error): void => {
  setImmediate(() => {
    throw error
  })
}
