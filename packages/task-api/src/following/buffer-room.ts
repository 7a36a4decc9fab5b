/** A reader this far behind gets no progress until it has caught up; what changes state waits in the journal. */
const maxBufferedBytes = 65_536
/** A reader that takes nothing for so long is let go; it can resume after the last event that it has. */
const stalledMs = 60_000
const pollMs = 100

/** Tells from what a connection still holds whether its reader keeps up. */
export const createBufferRoom = (bufferedBytes: () => number) => {
  const isBehind = (): boolean => bufferedBytes() > maxBufferedBytes
  return {
    isBehind,
    /** Resolves when there is room for more; with false when there was none for a minute. */
    room: async (signal: AbortSignal): Promise<boolean> => {
      const end = performance.now() + stalledMs
      while (isBehind() && !signal.aborted) {
        if (performance.now() > end) return false
        await new Promise(resolve => setTimeout(resolve, pollMs))
      }
      return true
    }
  }
}
