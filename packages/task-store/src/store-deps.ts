import type { Redis } from 'ioredis'
import type { Keys } from './keys.ts'
import type { Limits } from './limits.ts'
import type { RunScript } from './scripts.ts'

/** What every part of the ledger is built from. */
export type StoreDeps = {
  readonly redis: Redis
  readonly keys: Keys
  readonly run: RunScript
  readonly limits: Limits
}
