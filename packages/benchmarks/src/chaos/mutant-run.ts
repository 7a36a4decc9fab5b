import { findViolations } from './checks/all.ts'
import type { FaultKind, PlannedFault } from './faults/fault.ts'
import type { Recording } from './history/recording.ts'
import type { MutantName } from './rig/mutants.ts'
import { runChaos } from './run.ts'

/** The faults against which the protection that is missing was made. */
const aims: Readonly<Record<MutantName, readonly FaultKind[]>> = {
  'no-fence': ['silence-service-past-lease', 'freeze-service-past-lease'],
  'blind-sweep': ['cancel-in-silence'],
  'eternal-slot': ['silence-service-past-lease', 'kill-service']
}

export type MutantRunOptions = {
  readonly mutant: MutantName
  readonly seed: number
  readonly seconds: number
  readonly folder: string
  readonly say: (line: string) => void
}

const everyMs = 1_200
/** A violation must come from the missing protection, so only what the ledger itself did counts. */
const isOfTheLedger = /^(S|R3)/

/** Runs a small fleet without one protection, under faults aimed at it, until the first violation. */
export const runMutant = ({ mutant, seed, seconds, folder, say }: MutantRunOptions): Promise<Recording> => {
  const kinds = aims[mutant]
  const plan: PlannedFault[] = Array.from({ length: Math.floor((seconds * 1_000) / everyMs) }, (_, i) => ({
    kind: kinds[i % kinds.length]!,
    atMs: i * everyMs,
    pick: (i % 3) / 3,
    forMs: 500
  }))
  const isEnough = (recording: Recording) => findViolations(recording).some(({ rule }) => isOfTheLedger.test(rule))
  return runChaos({ seed, seconds, folder, plan, mutant, say, isEnough, nodes: 3, balancers: 1, callers: 4 })
}
