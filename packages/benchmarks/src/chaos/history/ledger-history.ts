/** A task's own words, as its hash holds them after a step of the ledger. */
export type TaskFacts = {
  readonly state: string
  readonly version: number
  readonly attempt: number
  readonly token: string | undefined
  readonly node: string | undefined
  readonly tenant: string
  /** The caller's mark, by which one sees whether a key made two tasks. */
  readonly key: string | undefined
  /** Budgets used, by class. */
  readonly used: Readonly<Record<string, number>>
  readonly expiresMs: number | undefined
}

/** One journal entry. */
export type Entry = {
  readonly type: string
  readonly version: number
  readonly at: number
  readonly state: string
  readonly attempt: number
  readonly node: string | null
  readonly reason?: string
}

/** A step of the ledger that touched a task: before, after, what it wrote into the journal, and where the task is now. */
export type TaskStep = {
  readonly step: number
  readonly atMs: number
  readonly task: string
  readonly before: TaskFacts | undefined
  readonly after: TaskFacts | undefined
  readonly entries: readonly Entry[]
  /** Queues, the delayed set, and slots that hold its current token. */
  readonly places: readonly string[]
  /** Tenants in whose queues or lists it stands. */
  readonly listedBy: readonly string[]
  /** Tokens in the paths of the outputs that this step recorded. */
  readonly outputTokens: readonly string[]
}

/** A slot that changed hands. */
export type SlotChange = {
  readonly step: number
  readonly atMs: number
  readonly node: string
  readonly from: string | undefined
  readonly to: string | undefined
  readonly task: string | undefined
}

/** What a node's slot was like at the end of a sweep. */
export type HeldSlot = {
  readonly node: string
  readonly token: string
  readonly task: string
  /** When a claim, an adoption or a heartbeat last named the token. */
  readonly namedMs: number
}

export type SweepStep = {
  readonly step: number
  readonly atMs: number
  /** When the blindness guard last struck; 0 for never. */
  readonly guardedMs: number
  readonly held: readonly HeldSlot[]
}

/** A node's heartbeat or registration, with its willingness and whether its slot was empty then. */
export type Beat = {
  readonly step: number
  readonly atMs: number
  readonly node: string
  readonly epoch: string
  readonly isFree: boolean
  readonly isRegistration: boolean
}

/** Everything that the ledger did, in its order; times are Redis's. */
export type LedgerHistory = {
  readonly steps: number
  readonly tasks: readonly TaskStep[]
  readonly slots: readonly SlotChange[]
  readonly sweeps: readonly SweepStep[]
  readonly beats: readonly Beat[]
}
