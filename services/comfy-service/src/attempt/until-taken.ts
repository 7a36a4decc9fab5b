import { setTimeout as pause } from 'node:timers/promises'
import type { Log } from '@comfy-balancer/service-kit/log'

/** What an attempt has to say is kept for so long while Redis is away. */
const keepMs = 3_600_000
const pauseMs = 1_000

/** Asks the ledger until it answers: neither a result nor an attempt just begun is given up because Redis is away. Throws after an hour. */
export const untilTaken = async <T>(ask: () => Promise<T>, log: Log): Promise<T> => {
  const endMs = performance.now() + keepMs
  for (;;) {
    try {
      return await ask()
    } catch (err) {
      if (performance.now() > endMs) throw err
      log.warn({ err }, 'the ledger does not answer yet')
      await pause(pauseMs, undefined, { ref: false })
    }
  }
}
