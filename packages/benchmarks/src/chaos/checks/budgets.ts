import { type Check, terminalStates } from './violation.ts'

/** How often each class may send a task back (dispatch.md); hand-backs count nowhere. */
const budgets: Readonly<Record<string, number>> = {
  node: 3,
  'comfyui-died': 3,
  lost: 10,
  placement: 10,
  'out-of-memory': 4
}

/** S9: no class sends a task back more often than its budget says, and no budget is spent without a return. */
export const checkBudgets: Check = ({ ledger }) =>
  ledger.tasks.flatMap(({ before, after, entries, task, atMs }) => {
    if (!after || terminalStates.has(after.state)) return []
    return Object.entries(after.used)
      .filter(([name, used]) => budgets[name] !== undefined && used > budgets[name] && used > (before?.used[name] ?? 0))
      .map(([name, used]) => ({
        rule: 'S9',
        what: `${used} returns for ${name}, and still ${after.state} (${entries.map(({ type }) => type).join(', ')})`,
        task,
        atMs
      }))
  })
