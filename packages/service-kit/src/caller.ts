import type { Scope } from '@comfy-balancer/contract/scope'

/** Who asks. Every record that a request makes or reads belongs to `tenant`. */
export type Caller = {
  readonly tenant: string
  /** True when the caller's key has this scope. */
  readonly may: (scope: Scope) => boolean
}

/** Everybody, where there are no keys: one tenant that may do everything. */
export const anybody: Caller = { tenant: 'default', may: () => true }
