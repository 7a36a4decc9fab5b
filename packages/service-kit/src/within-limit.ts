/**
 * Runs work with a signal that aborts after `totalMs`, or as soon as one of the others does. A timer and listeners, for Node 20 may
 * collect an AbortSignal.timeout inside AbortSignal.any before it fires.
 */
export const withinLimit = async <T>(
  totalMs: number,
  others: readonly (AbortSignal | undefined)[],
  work: (signal: AbortSignal) => Promise<T>
): Promise<T> => {
  const limit = new AbortController()
  const giveUp = () => limit.abort()
  const timer = setTimeout(giveUp, totalMs)
  for (const other of others) {
    if (other?.aborted) giveUp()
    other?.addEventListener('abort', giveUp)
  }
  try {
    return await work(limit.signal)
  } finally {
    clearTimeout(timer)
    for (const other of others) other?.removeEventListener('abort', giveUp)
  }
}
