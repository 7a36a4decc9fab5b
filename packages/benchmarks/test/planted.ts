import { findViolations } from '../src/chaos/checks/all.ts'
import type { Transaction } from '../src/chaos/history/append-only-file.ts'
import type { Call } from '../src/chaos/history/calls.ts'
import type { Recording } from '../src/chaos/history/recording.ts'
import { replay } from '../src/chaos/history/replay.ts'
import { timers } from '../src/chaos/timers.ts'

type Command = readonly string[]

const prefix = '{chaos}:'
const [need, tenant] = ['n', 'default']
/** An instant in wall-clock ms from which the planted histories count. */
export const startMs = 1_700_000_000_000

const step = (...commands: Command[]): Transaction => ({ second: 0, commands })
const key = (name: string): string => prefix + name

/** Writes a ledger's history as its scripts would; `at` counts ms from the start. */
export const aLedger = () => {
  const versions = new Map<string, number>()
  const told = (task: string, type: string, state: string, at: number, attempt = 1): Command[] => {
    const version = (versions.get(task) ?? 0) + 1
    versions.set(task, version)
    const entry = { type, taskId: task, version, at: startMs + at, state, attempt, node: null }
    return [
      ['HINCRBY', key(`task:${task}`), 'version', '1'],
      ['RPUSH', key(`journal:${task}`), JSON.stringify(entry)]
    ]
  }
  const set = (task: string, ...fields: string[]): Command => ['HSET', key(`task:${task}`), ...fields]
  const queued = (task: string, at: number): Command[] => [
    set(task, 'state', 'queued', 'queuedMs', String(startMs + at)),
    ['ZADD', key(`queue:${tenant}:${need}`), String(at), task]
  ]
  const slot = (node: string, task: string, token: string, at: number): Command[] => [
    ['HSET', key(`node:${node}`), 'slotTask', task, 'slotToken', token],
    ['ZADD', key('slots'), String(startMs + at + timers.leaseMs), node]
  ]
  const emptied = (node: string): Command[] => [
    ['HDEL', key(`node:${node}`), 'slotTask', 'slotToken'],
    ['ZREM', key('slots'), node]
  ]
  const ended = (task: string, state: string, at: number): Command[] => [
    set(task, 'state', state),
    ...told(task, `task.${state}`, state, at),
    ['PEXPIREAT', key(`task:${task}`), String(startMs + at + timers.keepFailedMs)]
  ]
  return {
    accepted: (task: string, at: number, caller = task) =>
      step(
        set(task, 'tenant', tenant, 'need', need, 'attempt', '0', 'metadata', JSON.stringify({ chaos: caller })),
        ['ZADD', key(`tasks:${tenant}`), '0', task],
        ...queued(task, at),
        ...told(task, 'task.queued', 'queued', at, 0)
      ),
    claimed: (task: string, node: string, token: string, at: number) =>
      step(
        ['ZREM', key(`queue:${tenant}:${need}`), task],
        ['HINCRBY', key(`task:${task}`), 'attempt', '1'],
        set(task, 'state', 'leased', 'token', token, 'node', node, 'claimedMs', String(startMs + at)),
        ...slot(node, task, token, at),
        ...told(task, 'task.dispatched', 'queued', at)
      ),
    running: (task: string, at: number) =>
      step(set(task, 'state', 'running'), ...told(task, 'task.started', 'running', at)),
    succeeded: (task: string, node: string, token: string, at: number) =>
      step(
        ...emptied(node),
        ['SET', key(`result:${task}`), JSON.stringify([{ path: `tenants/${tenant}/tasks/${task}/${token}/0-a.png` }])],
        ...ended(task, 'succeeded', at)
      ),
    cancelled: (task: string, at: number) =>
      step(['ZREM', key(`queue:${tenant}:${need}`), task], ...ended(task, 'cancelled', at)),
    lost: (task: string, node: string, at: number, used = 1) =>
      step(
        ...emptied(node),
        ['HDEL', key(`task:${task}`), 'token', 'node'],
        set(task, 'used:lost', String(used)),
        ...queued(task, at),
        ...told(task, 'task.retried', 'queued', at)
      ),
    swept: (at: number) => step(['HSET', key('counters'), 'lastSweepMs', String(startMs + at)]),
    beat: (node: string, at: number) =>
      step(
        ['ZADD', key('nodes'), String(startMs + at), node],
        ['HSET', key(`node:${node}`), 'report', '{}', 'intent', 'ready']
      ),
    raw: (...commands: Command[]) =>
      step(...commands.map(([name = '', first = '', ...rest]) => [name, key(first), ...rest]))
  }
}

/** A recording in which nothing happened, with what a test plants in it. */
export const aRecording = (ledger: readonly Transaction[], planted: Partial<Recording> = {}): Recording => ({
  faults: [],
  calls: [],
  ledger: replay(ledger, prefix),
  prompts: [],
  lives: [],
  log: [],
  lags: [],
  end: { healedMs: startMs + 60_000, settledMs: startMs + 70_000, leftKeys: [] },
  ...planted
})

/** What a caller did, as it is noted. */
export const aCall = (what: Call['what'], task: string, at: number, rest: Partial<Call> = {}): Call => ({
  ...{ what, task, via: 'balancer-1', key: task, status: what === 'post' ? 202 : 200 },
  ...{ sentMs: startMs + at, answeredMs: startMs + at + 5 },
  ...rest
})

/** The rules that the checks find broken, each once. */
export const broken = (recording: Recording): string[] => [
  ...new Set(findViolations(recording).map(({ rule }) => rule))
]
