import type { InjectedFault } from '../faults/fault.ts'
import type { Lag } from '../lag.ts'
import type { Life } from '../rig/program.ts'
import type { Call } from './calls.ts'
import type { LedgerHistory } from './ledger-history.ts'
import type { LogLine } from './service-logs.ts'

/** A prompt that a simulator's worker took up; it has no end when the simulator died under it. */
export type PromptRun = {
  readonly comfyui: string
  readonly promptId: string
  readonly startedMs: number
  readonly endedMs: number | undefined
}

/** A key that was still there when all retention had ended; `ttlMs` is -1 for one that stays for ever. */
export type LeftKey = { readonly name: string; readonly ttlMs: number }

/** How a run ended: when the last fault was taken back, when everything had ended or nobody waited any longer, and what was left when all retention was over. */
export type RunEnd = { readonly healedMs: number; readonly settledMs: number; readonly leftKeys: readonly LeftKey[] }

/** Everything that was seen of a run, from all sides; the checks are functions of it. */
export type Recording = {
  readonly faults: readonly InjectedFault[]
  readonly calls: readonly Call[]
  readonly ledger: LedgerHistory
  readonly prompts: readonly PromptRun[]
  readonly lives: readonly Life[]
  readonly log: readonly LogLine[]
  /** Missing when the run was broken off. */
  readonly end: RunEnd | undefined
  /** When this machine was too busy to tell anything about punctuality. */
  readonly lags: readonly Lag[]
}
