import { type Check, terminalStates, type Violation } from './violation.ts'

/** Of these kinds a key may stay: they describe the fleet and what was learned, not tasks. */
const standing = [
  'templates:',
  'quarantined',
  'poisons',
  'nodes',
  'node:',
  'counters',
  'fairness',
  'balancer',
  'deadlines',
  'bull:',
  'webhook-secrets:',
  'api-key:',
  'api-keys',
  'tenant:'
]
/** These stay for a while after their last use, but must have an end. */
const ending = [
  'turn:',
  'group:',
  'spent:',
  'rate:',
  'generated:',
  'need:',
  'stats:',
  'graphs',
  'graph-uses',
  'catalog:',
  'files:',
  'idempotency:'
]
const settleMs = 400
/** Of so many tasks at work, one at least must end in that time. */
const enoughAtWork = 4

/** R1: with memory full nothing is accepted and everything else works. R2: after retention no key of a task is left. */
export const checkRetention: Check = recording => [...fullMemory(recording), ...leftKeys(recording)]

const fullMemory: Check = ({ faults, calls, ledger }) =>
  faults
    .filter(({ kind }) => kind === 'memory-full')
    .flatMap(({ fromMs, toMs }) => {
      const [startMs, endMs] = [fromMs + settleMs, toMs - settleMs / 4]
      const inside = calls.filter(({ sentMs, answeredMs }) => sentMs >= startMs && answeredMs <= endMs)
      const found: Violation[] = inside
        .filter(
          ({ what, status, code }) =>
            what === 'post' && status !== 503 && status !== 0 && code !== 'task-already-finished'
        )
        .map(({ status, code, task, sentMs }) => ({
          rule: 'R1',
          what: `a post was answered ${status} ${code ?? ''} while memory was full`,
          ...(task ? { task } : {}),
          atMs: sentMs
        }))
      const refused = inside.filter(({ what, status }) => (what === 'get' || what === 'cancel') && status >= 500)
      for (const { what, status, code, sentMs } of refused)
        found.push({
          rule: 'R1',
          what: `a ${what} was answered ${status} ${code ?? ''} while memory was full`,
          atMs: sentMs
        })
      const endedMs = (task: string) =>
        ledger.tasks.find(({ task: id, after }) => id === task && terminalStates.has(after?.state ?? ''))?.atMs
      const atWork = ledger.sweeps.findLast(({ atMs }) => atMs <= startMs)?.held.map(({ task }) => endedMs(task)) ?? []
      const running = atWork.filter(atMs => atMs === undefined || atMs > startMs)
      const works = running.length < enoughAtWork || running.some(atMs => atMs !== undefined && atMs <= endMs)
      if (!works) found.push({ rule: 'R1', what: 'no task ended while memory was full', atMs: startMs })
      return found
    })

const leftKeys: Check = ({ end }) =>
  (end?.leftKeys ?? []).flatMap(({ name, ttlMs }) => {
    const key = name.slice(name.indexOf(':') + 1)
    if (standing.some(kind => key === kind || (kind.endsWith(':') && key.startsWith(kind)))) return []
    if (ttlMs > 0 && ending.some(kind => key.startsWith(kind))) return []
    return [{ rule: 'R2', what: `${name} is left${ttlMs > 0 ? ` for another ${ttlMs} ms` : ' for ever'}` }]
  })
