import type { Delivery } from '@comfy-balancer/task-store/deliveries'

/** Two receivers that failed together are not called together again: each pause is up to a tenth longer. */
const jitter = 0.1
/** What a receiver may ask for with Retry-After. */
const maxAskedMs = 24 * 3_600_000
/** By so much an event may be late although its receiver was not away. */
const graceMs = 3_600_000

/** A try that failed: how often and since when that event has been owed, and what its receiver asked for. */
export type FailedTry = Pick<Delivery, 'tries'> & { readonly ageMs: number; readonly retryAfter: string | undefined }

/**
 * How long to wait after a try that failed; undefined when it was the last one. An event that had to wait for those before it until the
 * whole schedule was over gets one try only: its receiver has been away for that long.
 */
export const pauseAfter = (
  { tries, ageMs, retryAfter }: FailedTry,
  pausesMs: readonly number[],
  random: () => number
): number | undefined => {
  const pauseMs = pausesMs[tries]
  const isLate = tries === 0 && ageMs > pausesMs.reduce((sum, pause) => sum + pause, graceMs)
  if (pauseMs === undefined || isLate) return undefined
  return Math.max(pauseMs * (1 + jitter * random()), askedMs(retryAfter))
}

/** Retry-After in seconds or as a date (RFC 9110); 0 without a readable one. */
const askedMs = (retryAfter: string | undefined): number => {
  if (retryAfter === undefined) return 0
  const ms = /^\d{1,9}$/.test(retryAfter) ? Number(retryAfter) * 1_000 : Date.parse(retryAfter) - Date.now()
  return Number.isFinite(ms) ? Math.min(maxAskedMs, Math.max(0, ms)) : 0
}
