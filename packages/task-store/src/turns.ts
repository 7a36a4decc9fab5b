import type { StoreDeps } from './store-deps.ts'

export type Turns = ReturnType<typeof createTurns>

/** Work that one process at a time does for all of them. */
export const createTurns = ({ run }: StoreDeps) => ({
  /** True for the first who asks; for everybody else only after so long. */
  async take(what: string, forMs: number): Promise<boolean> {
    return (await run('turn', what, forMs)) === 1
  }
})
