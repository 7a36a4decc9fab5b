import { setTimeout as pause } from 'node:timers/promises'
import type { Log } from '@comfy-balancer/service-kit/log'
import { StorageError } from '@comfy-balancer/storage/object-store'

/** An output is still ComfyUI's for so long while the store is away; then it is another attempt's turn. */
const keepMs = 120_000
const pauseMs = 2_000

/** Stores until the store is there to take it: what was computed is not given up because S3 restarts. Throws anything else at once. */
export const untilStored = async <T>(put: () => Promise<T>, signal: AbortSignal, log: Log): Promise<T> => {
  const endMs = performance.now() + keepMs
  for (;;) {
    try {
      return await put()
    } catch (err) {
      const isPassing = err instanceof StorageError && err.code === 'unavailable'
      if (!isPassing || signal.aborted || performance.now() > endMs) throw err
      log.warn({ err, errorSource: 'ours' }, 'the store does not answer yet')
      await pause(pauseMs, undefined, { ref: false, signal }).catch(() => undefined)
    }
  }
}
