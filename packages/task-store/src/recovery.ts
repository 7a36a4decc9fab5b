import type { StoreDeps } from './store-deps.ts'

/** What one sweep did. `heldBack` is true when the blindness guard postponed the recoveries. */
export type Sweep = {
  readonly recovered: number
  readonly requeued: number
  readonly expired: number
  readonly timedOut: number
  readonly heldBack: boolean
}

export type Recovery = ReturnType<typeof createRecovery>

/** Ending what ran out of time. */
export const createRecovery = ({ run }: StoreDeps) => ({
  /** Ends at most `limit` slots, back-offs and deadlines that are due. */
  async sweep(limit = 200): Promise<Sweep> {
    const [recovered, requeued, expired, timedOut, blind] = (await run('sweep', limit)) as number[]
    return {
      recovered: Number(recovered),
      requeued: Number(requeued),
      expired: Number(expired),
      timedOut: Number(timedOut),
      heldBack: Number(blind) === 1
    }
  }
})
