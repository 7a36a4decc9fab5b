import { timers } from '../timers.ts'
import { type Check, terminalStates } from './violation.ts'

/** S6: a slot is emptied before it is filled, a token runs once. S7: a task is in one place. R3: no slot outlives its lease. */
export const checkSlots: Check = recording => [
  ...handovers(recording),
  ...runs(recording),
  ...places(recording),
  ...leases(recording)
]

const handovers: Check = ({ ledger }) =>
  ledger.slots
    .filter(({ from, to }) => from !== undefined && to !== undefined)
    .map(({ node, from, to, task, atMs }) => ({
      rule: 'S6',
      what: `the slot of ${node} went from ${from} to ${to} without being emptied`,
      ...(task ? { task } : {}),
      atMs
    }))

const runs: Check = ({ prompts }) => {
  const seen = new Map<string, string>()
  return prompts.flatMap(({ promptId, comfyui, startedMs }) => {
    const first = seen.get(promptId)
    seen.set(promptId, comfyui)
    return first
      ? [{ rule: 'S6', what: `prompt ${promptId} ran on ${first} and again on ${comfyui}`, atMs: startedMs }]
      : []
  })
}

const places: Check = ({ ledger }) =>
  ledger.tasks.flatMap(({ after, places: where, task, atMs }) => {
    if (!after)
      return where.length > 0 ? [{ rule: 'S7', what: `gone, and yet in ${where.join(', ')}`, task, atMs }] : []
    const expected = placeOf(after.state, after.node)
    const isRight = terminalStates.has(after.state)
      ? where.every(place => place.startsWith('slot '))
      : where.length === 1 && where[0]?.startsWith(expected)
    return isRight ? [] : [{ rule: 'S7', what: `${after.state}, and in ${where.join(', ') || 'no place'}`, task, atMs }]
  })

const placeOf = (state: string, node: string | undefined): string => {
  if (state === 'queued') return 'queue '
  return state === 'delayed' ? 'delayed' : `slot ${node}`
}

/** Judged by the sweeps themselves, so that a slow machine changes nothing: a sweep leaves no slot whose lease is over, the guard aside. */
const leases: Check = ({ ledger }) =>
  ledger.sweeps.flatMap(({ atMs, guardedMs, held }) => {
    if (atMs - guardedMs <= timers.leaseMs) return []
    return held
      .filter(({ namedMs }) => atMs - namedMs > timers.leaseMs && guardedMs + timers.leaseMs < atMs)
      .map(({ node, token, task, namedMs }) => ({
        rule: 'R3',
        what: `${node} still holds ${token} after a sweep, ${atMs - namedMs} ms since it was named`,
        task,
        atMs
      }))
  })
