type Sample = { readonly atMs: number; readonly succeeded: number; readonly failed: number }

const windowMs = 600_000

/** How many tasks ended lately, from the ledger's totals as this balancer saw them grow; ten minutes at most. */
export const createThroughput = () => {
  const samples: Sample[] = []

  return {
    sample(nowMs: number, totals: Readonly<Record<string, number>>): void {
      const { succeeded = 0, failed = 0, expired = 0 } = totals
      const sample = { atMs: nowMs, succeeded, failed: failed + expired }
      if (samples.some(({ succeeded }) => succeeded > sample.succeeded)) samples.length = 0
      samples.push(sample)
      while (samples[0] && samples[0].atMs < nowMs - windowMs) samples.shift()
    },

    window(): { windowSeconds: number; succeeded: number; failed: number } {
      const first = samples[0]
      const last = samples.at(-1)
      if (!first || !last) return { windowSeconds: 0, succeeded: 0, failed: 0 }
      return {
        windowSeconds: Math.round((last.atMs - first.atMs) / 1000),
        succeeded: last.succeeded - first.succeeded,
        failed: last.failed - first.failed
      }
    }
  }
}
