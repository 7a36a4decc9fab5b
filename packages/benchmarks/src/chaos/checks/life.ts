import type { TaskStep } from '../history/ledger-history.ts'
import { timers } from '../timers.ts'
import { type Check, terminalStates, type Violation } from './violation.ts'

/** Redis notes the second in which a record expired, and removes it a little later. */
const clockMs = 1_100

/** Every change of state that a script may make. */
const legal: Readonly<Record<string, readonly string[]>> = {
  queued: ['leased', 'cancelled', 'expired', 'failed'],
  leased: ['running', 'queued', 'delayed', 'succeeded', 'failed', 'cancelled'],
  running: ['queued', 'delayed', 'succeeded', 'failed', 'cancelled'],
  delayed: ['queued', 'cancelled', 'expired', 'failed']
}

/** S1: a record goes only when its retention has ended. S2: one end, never changed. S3: the version counts transitions, the attempt never falls. */
export const checkLives: Check = ({ ledger }) =>
  ledger.tasks.flatMap(step => [...disappearance(step), ...ending(step), ...counting(step)])

const disappearance = ({ before, after, task, atMs }: TaskStep): Violation[] => {
  if (!before || after) return []
  const isDue = before.expiresMs !== undefined && terminalStates.has(before.state) && atMs + clockMs >= before.expiresMs
  return isDue ? [] : [{ rule: 'S1', what: `the record of a task that was ${before.state} disappeared`, task, atMs }]
}

const ending = ({ before, after, entries, task, atMs }: TaskStep): Violation[] => {
  if (!before || !after) return []
  const found: Violation[] = []
  if (terminalStates.has(before.state)) {
    if (after.state !== before.state)
      found.push({ rule: 'S2', what: `${before.state} became ${after.state}`, task, atMs })
    if (entries.length > 0)
      found.push({ rule: 'S2', what: `${entries[0]?.type} after it had ${before.state}`, task, atMs })
  } else if (
    entries.length > 0 &&
    after.state !== before.state &&
    !isReachable(before.state, after.state, entries.length)
  ) {
    found.push({ rule: 'S2', what: `${before.state} became ${after.state}, which no rule allows`, task, atMs })
  }
  if (terminalStates.has(after.state) && after.expiresMs === undefined && after.state !== before.state) {
    found.push({ rule: 'S1', what: `${after.state} without the start of a retention`, task, atMs })
  }
  if (
    after.expiresMs !== undefined &&
    after.expiresMs - atMs < timers.keepMs - clockMs &&
    after.state !== before.state &&
    terminalStates.has(after.state)
  ) {
    found.push({ rule: 'S1', what: `kept for ${after.expiresMs - atMs} ms only`, task, atMs })
  }
  return found
}

/** A sweep may take a task back and end it in one step: as many changes as the journal tells. */
const isReachable = (from: string, to: string, changes: number): boolean =>
  changes > 0 && (legal[from] ?? []).some(next => next === to || isReachable(next, to, changes - 1))

const counting = ({ before, after, entries, task, atMs }: TaskStep): Violation[] => {
  if (!after) return []
  const found: Violation[] = []
  const version = before?.version ?? 0
  if (after.version !== version + entries.length || entries.some((entry, i) => entry.version !== version + i + 1)) {
    const told = entries.map(entry => entry.version).join(', ') || 'nothing'
    found.push({
      rule: 'S3',
      what: `version ${version} became ${after.version}, the journal tells ${told}`,
      task,
      atMs
    })
  }
  if (before && after.state !== before.state && entries.length === 0) {
    found.push({ rule: 'S3', what: `${before.state} became ${after.state} without a journal entry`, task, atMs })
  }
  if (before && after.attempt < before.attempt) {
    found.push({ rule: 'S3', what: `attempt ${before.attempt} became ${after.attempt}`, task, atMs })
  }
  return found
}
