import type { Recording } from '../history/recording.ts'
import { checkBudgets } from './budgets.ts'
import { checkCallersView } from './callers-view.ts'
import { checkLives } from './life.ts'
import { checkLiveness } from './liveness.ts'
import { checkResults } from './results.ts'
import { checkRetention } from './retention.ts'
import { checkSlots } from './slots.ts'
import type { Violation } from './violation.ts'

/** What must be true (dispatch.md), looked for in a recording; a rule broken twice by one task is told once. */
export const findViolations = (recording: Recording): Violation[] => {
  const checks = [checkLives, checkResults, checkSlots, checkCallersView, checkBudgets, checkRetention, checkLiveness]
  const found = checks.flatMap(check => check(recording))
  const told = new Set<string>()
  return found.filter(({ rule, task, what }) => {
    const name = `${rule} ${task ?? what}`
    const isNew = !told.has(name)
    told.add(name)
    return isNew
  })
}
