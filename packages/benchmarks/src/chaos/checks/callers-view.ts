import { groupBy } from '../group-by.ts'
import type { Call } from '../history/calls.ts'
import { timers } from '../timers.ts'
import { type Check, terminalStates, type Violation } from './violation.ts'

/** Redis and callers look at one clock, but not in the same moment. */
const clockMs = 500

/** S1, S2, S3 as callers see them, S8: one task per key, S11: tasks stand with their own tenant only. */
export const checkCallersView: Check = recording => [
  ...acceptances(recording),
  ...answers(recording),
  ...streams(recording),
  ...keys(recording),
  ...tenants(recording)
]

const acceptances: Check = ({ calls, ledger }) => {
  const known = new Set(ledger.tasks.map(({ task }) => task))
  return calls
    .filter(({ what, status, task }) => what === 'post' && status === 202 && !known.has(task ?? ''))
    .map(({ task, answeredMs }) => ({
      rule: 'S1',
      what: 'accepted, and never in the ledger',
      task: task!,
      atMs: answeredMs
    }))
}

const byTask = (calls: readonly Call[]): Map<string, Call[]> =>
  groupBy(
    calls.filter(({ task }) => task),
    ({ task }) => task!
  )

const answers: Check = ({ calls, ledger }) => {
  const ends = new Map(
    ledger.tasks.flatMap(({ task, after }) => (after && terminalStates.has(after.state) ? [[task, after.state]] : []))
  )
  const forgottenMs = new Map(
    ledger.tasks.flatMap(({ task, after }) =>
      after?.expiresMs ? [[task, after.expiresMs + timers.keepMs - clockMs]] : []
    )
  )
  const found: Violation[] = []
  for (const [task, asked] of byTask(calls)) {
    const gets = asked
      .filter(({ what, status }) => what === 'get' && status > 0)
      .toSorted((a, b) => a.sentMs - b.sentMs)
    for (const { status, answeredMs, state } of gets) {
      if (status === 404 && answeredMs < (forgottenMs.get(task) ?? Number.POSITIVE_INFINITY))
        found.push({ rule: 'S1', what: 'a caller was told that there is no such task', task, atMs: answeredMs })
      if (status === 410 && !ends.has(task))
        found.push({ rule: 'S1', what: 'gone before it had ended', task, atMs: answeredMs })
      if (state && terminalStates.has(state) && state !== ends.get(task))
        found.push({ rule: 'S2', what: `a caller saw ${state}, the end was ${ends.get(task)}`, task, atMs: answeredMs })
    }
    const firstEnd = Math.min(
      ...gets.filter(({ state }) => terminalStates.has(state ?? '')).map(call => call.answeredMs)
    )
    for (const { sentMs, state } of gets.filter(call => call.sentMs > firstEnd && call.state)) {
      if (!terminalStates.has(state!))
        found.push({ rule: 'S2', what: `${state} again after its end was seen`, task, atMs: sentMs })
    }
  }
  return found
}

/** A follower gets every change of state, in order, across broken streams. */
const streams: Check = ({ calls }) => {
  const found: Violation[] = []
  for (const [task, events] of byTask(calls.filter(({ what }) => what === 'event'))) {
    const followed = events.map(({ version }) => version ?? 0)
    followed.forEach((version, i) => {
      const before = followed[i - 1] ?? 0
      if (version === before + 1) return
      found.push({
        rule: 'S3',
        what: `a stream went from version ${before} to ${version}`,
        task,
        atMs: events[i]!.answeredMs
      })
    })
  }
  return found
}

const keys: Check = ({ calls, ledger }) => {
  const tasks = new Map<string, Set<string>>()
  const note = (key: string | undefined, task: string | undefined): void => {
    if (!key || !task) return
    tasks.set(key, (tasks.get(key) ?? new Set()).add(task))
  }
  for (const { what, key, task } of calls) if (what === 'post') note(key, task)
  for (const { after, task } of ledger.tasks) note(after?.key, task)
  return [...tasks]
    .filter(([, made]) => made.size > 1)
    .map(([key, made]) => ({ rule: 'S8', what: `the key ${key} made ${[...made].join(' and ')}`, task: [...made][0]! }))
}

/** Another tenant's task is not there, not even to be refused. */
const tenants: Check = ({ ledger, calls }) => [
  ...calls
    .filter(({ what, status }) => what === 'trespass' && status > 0 && status < 500 && status !== 404 && status !== 429)
    .map(({ status, task, answeredMs }) => ({
      rule: 'S11',
      what: `another tenant was answered ${status}`,
      task: task!,
      atMs: answeredMs
    })),
  ...ledger.tasks.flatMap(({ after, listedBy, task, atMs }) =>
    listedBy
      .filter(tenant => after && tenant !== after.tenant)
      .map(tenant => ({ rule: 'S11', what: `a task of ${after?.tenant} stands with ${tenant}`, task, atMs }))
  )
]
