import { punctualities } from './checks/liveness.ts'
import type { Violation } from './checks/violation.ts'
import { groupBy } from './group-by.ts'
import type { Recording } from './history/recording.ts'
import { staleRefusals } from './history/service-logs.ts'

export type Run = { readonly seed: number; readonly seconds: number; readonly mutant: string | undefined }

/** Faults by kind, as `7 kill-service`. */
const byKind = ({ faults }: Recording): string[] =>
  [...groupBy(faults, ({ kind }) => kind)]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([kind, made]) => `  ${String(made.length).padStart(3)} ${kind}`)

/** How the tasks ended, as `412 succeeded`. */
const byEnd = ({ ledger }: Recording): string => {
  const last = new Map(ledger.tasks.flatMap(({ task, after }) => (after ? [[task, after.state]] : [])))
  const ends = groupBy([...last.values()], state => state)
  return [...ends].map(([state, tasks]) => `${tasks.length} ${state}`).join(', ')
}

/** How many promises about time could be judged, as `L2: 4 of 6 judged, at most 811 ms`: the others were late while something else was broken too. */
const punctuality = (recording: Recording): string[] =>
  [...groupBy(punctualities(recording), ({ rule }) => rule)].map(([rule, all]) => {
    const judged = all.filter(({ excused }) => excused === undefined)
    const slowest = Math.max(0, ...judged.map(({ tookMs }) => tookMs))
    const excuses = [...new Set(all.flatMap(({ excused }) => excused ?? []))]
    return `${rule}: ${judged.length} of ${all.length} judged, at most ${slowest} ms${excuses.length > 0 ? ` (others: ${excuses.join(', ')})` : ''}`
  })

/** What a run showed, ending in the number of violations. */
export const summary = (run: Run, recording: Recording, violations: readonly Violation[]): string => {
  const { faults, ledger, calls } = recording
  const tasks = new Set(ledger.tasks.map(({ task }) => task)).size
  const stale = staleRefusals(recording.log)
  const completions = stale.filter(({ msg }) => msg === 'late result refused').length
  return [
    `seed ${run.seed}, ${run.seconds} s${run.mutant ? `, mutant ${run.mutant}` : ''}`,
    `faults: ${faults.length}`,
    ...byKind(recording),
    `tasks: ${tasks} (${byEnd(recording)}); calls answered: ${calls.filter(({ status }) => status > 0).length} of ${calls.length}`,
    `steps of the ledger: ${ledger.steps}; prompts run: ${recording.prompts.length}; the rig waited at most ${Math.max(0, ...recording.lags.map(({ ms }) => ms))} ms for the machine`,
    `stale completions refused: ${completions} (${stale.length} stale writes in all)`,
    ...punctuality(recording),
    ...violations.slice(0, maxStories).flatMap(violation => ['', ...story(violation, recording)]),
    ...(violations.length > maxStories ? ['', `… and ${violations.length - maxStories} more`] : []),
    ...(violations.length > 0 ? [''] : []),
    `violations: ${violations.length}`
  ].join('\n')
}

const maxStories = 10
const maxLines = 80

/** A violation, and everything that is known of its task in the order of time. */
const story = ({ rule, what, task, atMs }: Violation, recording: Recording): string[] => {
  const head = `${rule}: ${what}${task ? ` (${task})` : ''}${atMs === undefined ? '' : ` at ${clock(atMs)}`}`
  const lines = task ? historyOf(task, recording) : around(atMs, recording)
  return [
    head,
    ...lines.slice(0, maxLines),
    ...(lines.length > maxLines ? [`  … ${lines.length - maxLines} more`] : [])
  ]
}

const clock = (ms: number): string => new Date(ms).toISOString().slice(11, 23)

type Line = { readonly ms: number; readonly text: string }

const inOrder = (lines: readonly Line[]): string[] =>
  lines.toSorted((a, b) => a.ms - b.ms).map(({ ms, text }) => `  ${clock(ms)} ${text}`)

const historyOf = (task: string, recording: Recording): string[] => {
  const { ledger, calls, log } = recording
  const steps = ledger.tasks
    .filter(step => step.task === task)
    .map(({ atMs, after, entries, places, step }) => ({
      ms: atMs,
      text: `ledger ${step}: ${entries.map(({ type, reason }) => (reason ? `${type} (${reason})` : type)).join(', ') || 'no event'}; ${
        after
          ? `${after.state} v${after.version} attempt ${after.attempt} token ${after.token ?? '-'} node ${after.node ?? '-'}`
          : 'gone'
      }; in ${places.join(', ') || 'no place'}`
    }))
  const slots = ledger.slots
    .filter(change => change.task === task)
    .map(({ atMs, node, from, to }) => ({ ms: atMs, text: `slot ${node}: ${from ?? 'empty'} → ${to ?? 'empty'}` }))
  const told = calls
    .filter(call => call.task === task)
    .map(({ sentMs, what, via, status, code, state, event, version }) => ({
      ms: sentMs,
      text: `caller: ${what} via ${via} → ${status} ${[event, state, code, version].filter(part => part !== undefined).join(' ')}`
    }))
  const logged = log
    .filter(line => line.taskId === task)
    .map(({ time, program, msg, answer, reason }) => ({
      ms: time,
      text: `${program}: ${[msg, answer, reason].filter(part => part !== undefined).join(', ')}`
    }))
  const times = steps.map(({ ms }) => ms)
  return inOrder([
    ...steps,
    ...slots,
    ...told,
    ...logged,
    ...faultsBetween(Math.min(...times), Math.max(...times), recording)
  ])
}

const faultsBetween = (fromMs: number, toMs: number, { faults }: Recording): Line[] =>
  faults
    .filter(fault => fault.fromMs <= toMs && fault.toMs >= fromMs)
    .map(fault => ({
      ms: fault.fromMs,
      text: `FAULT ${fault.kind} of ${fault.targets.join(', ')} until ${clock(fault.toMs)}`
    }))

const aroundMs = 4_000

const around = (atMs: number | undefined, recording: Recording): string[] => {
  if (atMs === undefined) return []
  const [fromMs, toMs] = [atMs - aroundMs, atMs + aroundMs]
  const lives = recording.lives
    .filter(({ readyMs }) => readyMs >= fromMs && readyMs <= toMs)
    .map(({ program, readyMs }) => ({ ms: readyMs, text: `${program} is up` }))
  return inOrder([...faultsBetween(fromMs, toMs, recording), ...lives])
}
