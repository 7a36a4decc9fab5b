/** Gives other work on the event loop a turn when a time slice is used up. */
export type Breather = () => Promise<void> | undefined

/** A breather that lets the event loop run every `sliceMs` milliseconds. */
export function createBreather(sliceMs = 8): Breather {
  let since = performance.now()
  return () => {
    if (performance.now() - since < sliceMs) return undefined
    return new Promise(resolve => {
      setImmediate(() => {
        since = performance.now()
        resolve()
      })
    })
  }
}
