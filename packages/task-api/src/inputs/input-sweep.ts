import { every, type Loop } from '@comfy-balancer/service-kit/every'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { InputLibrary } from './input-library.ts'

const sweepMs = 60_000

/** Removes expired inputs once a minute, from the store that all services share. */
export const startInputSweep = (library: InputLibrary, log: Log): Loop =>
  every({ name: 'input sweep', intervalMs: sweepMs, deadlineMs: sweepMs, log, run: () => library.sweep() })
