/** A moment in which the machine kept the rig waiting for so long; wall-clock ms. */
export type Lag = { readonly atMs: number; readonly ms: number }

const everyMs = 50
const noticedMs = 200

/** Notes when this machine calls the rig back late: what runs beside it is as late. */
export const watchLag = () => {
  const lags: Lag[] = []
  let dueMs = performance.now() + everyMs
  const timer = setInterval(() => {
    const ms = Math.round(performance.now() - dueMs)
    if (ms >= noticedMs) lags.push({ atMs: Date.now(), ms })
    dueMs = performance.now() + everyMs
  }, everyMs)
  return { lags, stop: (): void => clearInterval(timer) }
}
