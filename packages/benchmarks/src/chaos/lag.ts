const everyMs = 50

/** Measures how late this machine calls the rig back, at worst: what runs beside it is as late. */
export const watchLag = () => {
  let maxMs = 0
  let dueMs = performance.now() + everyMs
  const timer = setInterval(() => {
    maxMs = Math.max(maxMs, performance.now() - dueMs)
    dueMs = performance.now() + everyMs
  }, everyMs)
  return { maxMs: (): number => Math.round(maxMs), stop: (): void => clearInterval(timer) }
}
