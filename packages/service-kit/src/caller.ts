import type { Scope } from '@comfy-balancer/contract/scope'
import { Refusal } from './problems.ts'

/** Who asks. Every record that a request makes or reads belongs to `tenant`. */
export type Caller = {
  readonly tenant: string
  /** What the key is called; undefined where there are no keys. */
  readonly keyName?: string
  /** True when the caller's key has this scope. */
  readonly may: (scope: Scope) => boolean
}

/** Everybody, where there are no keys: one tenant that may do everything. */
export const anybody: Caller = { tenant: 'default', may: () => true }

/** Throws a Refusal that names the scope when a caller lacks it. */
export const requireScope = (caller: Caller, scope: Scope, why = 'this'): void => {
  if (!caller.may(scope)) throw new Refusal('forbidden', `${why} needs a key with the scope ${scope}`)
}
