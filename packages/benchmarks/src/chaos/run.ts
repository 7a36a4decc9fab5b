import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { until } from '@comfy-balancer/local/until'
import { createCaller } from './callers/caller.ts'
import { startCrowd } from './callers/crowd.ts'
import { terminalStates } from './checks/violation.ts'
import type { InjectedFault, PlannedFault } from './faults/fault.ts'
import { injectFaults } from './faults/injector.ts'
import { readTransactions } from './history/append-only-file.ts'
import type { Call } from './history/calls.ts'
import type { LedgerHistory } from './history/ledger-history.ts'
import type { LeftKey, Recording } from './history/recording.ts'
import { replay } from './history/replay.ts'
import { readPrompts, readServiceLogs } from './history/service-logs.ts'
import { watchLag } from './lag.ts'
import type { MutantName } from './rig/mutants.ts'
import { type Rig, startRig } from './rig/rig.ts'
import { clearFaults } from './rig/simulator.ts'
import { timers } from './timers.ts'

export type RunOptions = {
  readonly seed: number
  readonly seconds: number
  readonly folder: string
  readonly nodes?: number
  readonly balancers?: number
  readonly callers?: number
  readonly plan: readonly PlannedFault[]
  readonly mutant?: MutantName
  /** Looks at the history so far, every now and then; true ends the run at once, as it is. */
  readonly isEnough?: (recording: Recording) => boolean
  readonly say: (line: string) => void
}

const settleMs = 45_000
const lookMs = 1_500

/** One run: the fleet starts, callers come, faults happen, all is healed, everything ends, and what was seen is handed over. */
export const runChaos = async (options: RunOptions): Promise<Recording> => {
  const { seed, seconds, folder, mutant, nodes = 6, balancers = 2, callers = 10, say } = options
  rmSync(folder, { recursive: true, force: true })
  const lag = watchLag()
  const rig = await startRig({ folder, nodes, balancers, tenants: ['blue', 'green'], ...(mutant ? { mutant } : {}) })
  const calls: Call[] = []
  const caller = createCaller(call => calls.push(call), rig.apiKeys)
  const note = (fault: InjectedFault) => void faults.push(fault)
  const over = new AbortController()
  const faults: InjectedFault[] = []
  const crowd = startCrowd(rig, caller, { seed, callers })
  try {
    const scene = { rig, caller, crowd, held: new Set<string>(), signal: over.signal, note }
    const timer = setTimeout(() => over.abort(), seconds * 1_000)
    const injecting = injectFaults(scene, options.plan)
    const record = (end: Recording['end']): Recording => ({
      // What callers saw before what the ledger did: an answer's cause must be in the history.
      ...{
        faults: faults.toSorted((a, b) => a.fromMs - b.fromMs),
        calls: [...calls],
        ledger: ledgerOf(rig),
        lags: [...lag.lags],
        end
      },
      lives: rig.programs.flatMap(({ lives }) => lives).toSorted((a, b) => a.startedMs - b.startedMs),
      prompts: readPrompts(join(folder, 'logs')),
      log: readServiceLogs(join(folder, 'logs'))
    })
    const early = options.isEnough && (await watch(options.isEnough, over, () => record(undefined)))
    await injecting
    clearTimeout(timer)
    if (early) return early
    await heal(rig)
    const healedMs = Date.now()
    await crowd.stop()
    say('faults are over; waiting for everything to end')
    const settledMs = await untilSettled(rig)
    await pause(longestKeepMs)
    return record({ healedMs, settledMs, leftKeys: await keysLeft(rig) })
  } finally {
    over.abort()
    lag.stop()
    await crowd.stop()
    await rig.stop()
  }
}

/** A record, and the word that it is gone, which is kept for as long again. */
const longestKeepMs = timers.keepFailedMs * 2 + 2_000

const ledgerOf = (rig: Rig): LedgerHistory => replay(readTransactions(rig.appendOnlyFolder), rig.prefix)

/** Looks now and then, until it is enough or the time is over. */
const watch = async (
  isEnough: (recording: Recording) => boolean,
  over: AbortController,
  look: () => Recording
): Promise<Recording | undefined> => {
  while (!over.signal.aborted) {
    await pause(lookMs)
    const recording = look()
    if (!isEnough(recording)) continue
    over.abort()
    return recording
  }
  return undefined
}

/** Takes everything back that a fault may have left, and waits until all programs are there. */
const heal = async (rig: Rig): Promise<void> => {
  for (const link of rig.links) {
    link.setTrap(undefined)
    link.delay(0)
    link.resume()
  }
  for (const program of rig.programs) program.thaw()
  for (const program of rig.programs) {
    if (!(await program.untilUp(60_000))) throw new Error(`${program.name} does not start any more`)
  }
  for (const { comfyUiUrl } of rig.nodes) await clearFaults(comfyUiUrl)
}

const untilSettled = async (rig: Rig): Promise<number> => {
  const hasEnded = () => {
    const last = new Map(ledgerOf(rig).tasks.map(({ task, after }) => [task, after?.state]))
    return [...last.values()].every(state => state === undefined || terminalStates.has(state)) || undefined
  }
  await until(async () => {
    if (hasEnded()) return true
    await pause(lookMs)
    return undefined
  }, settleMs)
  return Date.now()
}

const keysLeft = async ({ ledger }: Rig): Promise<LeftKey[]> => {
  const names: string[] = []
  let cursor = '0'
  do {
    const [next, found] = await ledger.scan(cursor, 'COUNT', 1_000)
    names.push(...found)
    cursor = next
  } while (cursor !== '0')
  return Promise.all(names.map(async name => ({ name, ttlMs: await ledger.pttl(name) })))
}
