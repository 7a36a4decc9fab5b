import type { FaultKind, InjectedFault } from '../faults/fault.ts'
import { groupBy } from '../group-by.ts'
import type { Recording, RunEnd } from '../history/recording.ts'
import type { Life } from '../rig/program.ts'
import { timers } from '../timers.ts'
import { type Check, terminalStates, type Violation } from './violation.ts'

/**
 * How soon something happened that had to happen soon. `excused` names what else was wrong when it was late: two faults at once say nothing
 * about one promise.
 */
export type Punctuality = {
  readonly rule: 'L2' | 'L3' | 'L4'
  readonly what: string
  readonly task?: string
  readonly fromMs: number
  /** How long it took; infinity when it was not seen. */
  readonly tookMs: number
  readonly boundMs: number
  readonly excused: string | undefined
}

type Ended = Recording & { readonly end: RunEnd }

const recoveryMs = timers.leaseMs + 1_000
const restartMs = 2_000
const resumeMs = 5_000
/** So long must a node have been idle before one may say that a task need not have waited. */
const idleMs = 1_000
/** What a fault leaves behind is felt for a while. */
const afterMs = 1_000
const busyMs = 400

/** L1: everything ends. L2: a dead node's task is claimed again in time. L3: a node that is back has its slot back. L4: balancers resume. */
export const checkLiveness: Check = recording => {
  const late = punctualities(recording).filter(one => one.tookMs > one.boundMs && one.excused === undefined)
  const told = late.map(({ rule, what, task, fromMs, tookMs, boundMs }): Violation => {
    const took = Number.isFinite(tookMs) ? `after ${tookMs} ms` : 'never'
    return {
      rule,
      what: `${what}: ${took}, and at most ${boundMs} ms were promised`,
      ...(task ? { task } : {}),
      atMs: fromMs
    }
  })
  return [...unended(recording), ...told]
}

/** Everything of which L2, L3 and L4 say how long it may take. */
export const punctualities = (recording: Recording): Punctuality[] => {
  const { end } = recording
  if (!end) return []
  const ended = { ...recording, end }
  const all = [...recoveries(ended), ...restarts(ended), ...resumptions(ended)]
  return all.map(one => {
    if (one.tookMs <= one.boundMs) return { ...one, excused: undefined }
    return { ...one, excused: one.excused ?? busyness(recording, one) }
  })
}

/** Whether the machine itself was late by a good part of what was promised. */
const busyness = ({ lags }: Recording, { fromMs, boundMs }: Punctuality): string | undefined => {
  const during = lags.filter(({ atMs }) => atMs > fromMs - afterMs && atMs < fromMs + boundMs)
  return during.reduce((sum, { ms }) => sum + ms, 0) > busyMs ? 'the machine was busy' : undefined
}

const unended: Check = ({ ledger, end }) => {
  if (!end) return []
  const last = new Map(ledger.tasks.map(({ task, after }) => [task, after?.state ?? 'gone']))
  return [...last]
    .filter(([, state]) => state !== 'gone' && !terminalStates.has(state))
    .map(([task, state]) => ({
      rule: 'L1',
      what: `still ${state} ${end.settledMs - end.healedMs} ms after the last fault`,
      task
    }))
}

/** The fault other than these that was at work in that time on something of these names; full memory is no excuse (R1). */
const disturbance = (
  { faults }: Recording,
  { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
  names: readonly string[],
  but: readonly InjectedFault[]
): string | undefined =>
  faults.find(
    fault =>
      !but.includes(fault) &&
      fault.kind !== 'memory-full' &&
      fault.fromMs < toMs &&
      fault.toMs + afterMs > fromMs &&
      fault.targets.some(target => names.some(name => concerns(target, name)))
  )?.kind

/** `balancer` and `gpu-a` are concerned by what hits `balancer-1` or `gpu-a to redis`. */
const concerns = (target: string, name: string): boolean =>
  target === name || target.startsWith(`${name}-`) || target.startsWith(`${name} `)

const recoveries = (recording: Ended): Punctuality[] =>
  recording.faults.flatMap(fault => {
    const [node] = fault.targets
    if (fault.kind !== 'kill-service' || !node) return []
    const held = recording.ledger.slots.findLast(change => change.node === node && change.atMs <= fault.fromMs)
    return held?.to && held.task ? [recovery(recording, fault, node, held.task)] : []
  })

const recovery = (recording: Ended, fault: InjectedFault, node: string, task: string): Punctuality => {
  const { ledger } = recording
  const { fromMs } = fault
  const boundMs = recoveryMs
  const next = ledger.tasks.find(
    ({ task: id, atMs, after }) =>
      id === task && atMs > fromMs && (after?.state === 'leased' || terminalStates.has(after?.state ?? ''))
  )
  const toMs = fromMs + boundMs
  const isGuarded = ledger.sweeps.some(({ guardedMs }) => guardedMs > fromMs - timers.leaseMs && guardedMs < toMs)
  const excused =
    disturbance(recording, { fromMs, toMs }, ['redis', 'balancer'], [fault]) ??
    (isGuarded ? 'the blindness guard' : undefined) ??
    (wasFree(recording, toMs - idleMs, toMs) ? undefined : 'no node was idle')
  const what = `the task of ${node}, which was killed, was claimed again`
  return {
    rule: 'L2',
    what,
    task,
    fromMs,
    tookMs: next ? next.atMs - fromMs : Number.POSITIVE_INFINITY,
    boundMs,
    excused
  }
}

/** Whether some node was idle and willing all that time. */
const wasFree = ({ ledger }: Recording, fromMs: number, toMs: number): boolean => {
  const during = ledger.beats.filter(({ atMs }) => atMs >= fromMs && atMs <= toMs)
  const wasClaimed = (node: string) =>
    ledger.slots.some(change => change.node === node && change.atMs >= fromMs && change.atMs <= toMs)
  return [...groupBy(during, ({ node }) => node)].some(
    ([node, beats]) => beats.length >= 2 && beats.every(({ isFree }) => isFree) && !wasClaimed(node)
  )
}

const restarting: ReadonlySet<FaultKind> = new Set(['kill-service', 'skew-clock', 'rolling-restart'])

const restarts = (recording: Ended): Punctuality[] =>
  recording.lives
    .filter(({ program }) => program.startsWith('gpu-'))
    .filter((life, i, lives) => lives.findIndex(({ program }) => program === life.program) < i)
    .map(life => restart(recording, life))

const restart = (recording: Ended, life: Life): Punctuality => {
  const { ledger, lives, faults } = recording
  const { program, startedMs, readyMs } = life
  const boundMs = restartMs
  const toMs = readyMs + boundMs
  const back = ledger.beats.find(beat => beat.node === program && beat.isRegistration && beat.atMs >= startedMs)
  const beside = lives.find(
    ({ program: other, endedMs, readyMs: otherReadyMs }) =>
      [program.replace('gpu', 'comfyui'), 'redis'].includes(other) &&
      ((endedMs !== undefined && endedMs > startedMs - afterMs && endedMs < toMs) ||
        (otherReadyMs > startedMs && otherReadyMs < toMs))
  )
  const own = faults.filter(
    fault => restarting.has(fault.kind) && fault.fromMs <= readyMs && fault.toMs + afterMs >= readyMs
  )
  const excused =
    (beside ? `${beside.program} was away` : undefined) ??
    ((life.endedMs ?? Number.POSITIVE_INFINITY) < toMs ? 'it ended again' : undefined) ??
    disturbance(recording, { fromMs: startedMs, toMs }, [program, 'redis'], own)
  const tookMs = back ? Math.max(0, back.atMs - readyMs) : Number.POSITIVE_INFINITY
  return {
    rule: 'L3',
    what: `${program} was back in the fleet after its restart`,
    fromMs: readyMs,
    tookMs,
    boundMs,
    excused
  }
}

const resumptions = (recording: Ended): Punctuality[] =>
  recording.lives
    .filter(({ program }) => program === 'redis')
    .slice(1)
    .map(({ readyMs, endedMs }) => {
      const boundMs = resumeMs
      const toMs = readyMs + boundMs
      const sweep = recording.ledger.sweeps.find(({ atMs }) => atMs >= readyMs)
      const excused =
        ((endedMs ?? Number.POSITIVE_INFINITY) < toMs ? 'Redis ended again' : undefined) ??
        disturbance(recording, { fromMs: readyMs, toMs }, ['balancer'], [])
      const tookMs = sweep ? sweep.atMs - readyMs : Number.POSITIVE_INFINITY
      return {
        rule: 'L4',
        what: 'balancers swept again when Redis was back',
        fromMs: readyMs,
        tookMs,
        boundMs,
        excused
      }
    })
