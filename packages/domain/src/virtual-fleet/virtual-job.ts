/** A task of a virtual fleet, as it really is. `seconds` is its execution on a GPU of speed 1, `work` what the dispatcher is told of that. */
export type VirtualJob = {
  readonly id: string
  readonly atMs: number
  readonly model: string
  readonly seconds: number
  readonly work: number
  /** Jobs of one graph differ by their seeds only. */
  readonly graph?: string
  readonly tenant?: string
  /** The only node that may run it. */
  readonly node?: string
  readonly cancelMs?: number
  /** The age that priority lends it. */
  readonly headStartMs?: number
}

/** What became of a job. A lost one was in a node that crashed, and nobody knew of it any more. */
export type VirtualRun = VirtualJob & {
  readonly state: 'succeeded' | 'cancelled' | 'lost'
  /** When it first left the queue for a node. */
  readonly claimedMs: number
  /** When a GPU began its last attempt. */
  readonly startedMs: number
  readonly endedMs: number
  readonly on: string
  /** Its last attempt had to load the model. */
  readonly loaded: boolean
  readonly attempts: number
  /** What the rule said when it was accepted, of how long it would take in all. */
  readonly etaSeconds: number | undefined
}
