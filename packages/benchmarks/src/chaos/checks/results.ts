import { type Check, terminalStates, type Violation } from './violation.ts'

/** S4: what is recorded as a result carries the token that was current. S5: an answered cancel is for ever. */
export const checkResults: Check = recording => [...resultTokens(recording), ...cancels(recording)]

const resultTokens: Check = ({ ledger }) =>
  ledger.tasks.flatMap(({ before, outputTokens, task, atMs }) =>
    outputTokens
      .filter(token => token !== before?.token)
      .map(token => ({
        rule: 'S4',
        what: `a result of token ${token} was recorded while ${before?.token ?? 'none'} was current (${before?.state})`,
        task,
        atMs
      }))
  )

const cancels: Check = ({ calls, ledger }) => {
  const cancelled = new Map<string, number>()
  for (const call of calls) {
    if (call.what !== 'cancel' || call.status !== 200 || !call.task) continue
    cancelled.set(call.task, Math.min(call.answeredMs, cancelled.get(call.task) ?? Number.POSITIVE_INFINITY))
  }
  const found: Violation[] = []
  const ends = new Map(ledger.tasks.flatMap(({ task, after }) => (after ? [[task, after.state] as const] : [])))
  for (const [task, atMs] of cancelled) {
    if (ends.get(task) === 'cancelled') continue
    found.push({
      rule: 'S5',
      what: `the cancel was answered, and yet it is ${ends.get(task) ?? 'unknown'}`,
      task,
      atMs
    })
  }
  for (const { what, state, task, sentMs } of calls) {
    if (!task || sentMs <= (cancelled.get(task) ?? Number.POSITIVE_INFINITY)) continue
    const isOld = what === 'event' && !terminalStates.has(state ?? '')
    if (isOld || state === undefined || state === 'cancelled') continue
    found.push({ rule: 'S5', what: `a ${what} says ${state} after the cancel was answered`, task, atMs: sentMs })
  }
  return found
}
