import {
  dueMs,
  isInSlot,
  type LedgerModel,
  type ModelEntry,
  type ModelTask,
  queuedTasks
} from '@comfy-balancer/domain/ledger-model/model'
import { isTerminal } from '@comfy-balancer/domain/task-state'
import type { Redis } from 'ioredis'
import type { Limits } from '../../src/limits.ts'

/** What a ledger holds: by key, without its prefix. Sums are rounded, since Lua writes them with 14 digits. */
export type Dump = Readonly<Record<string, unknown>>

/** Kept under their digest or learned from what ran: no part of what the model explains. */
const untold = /^(clock$|need:|catalog:|files:|stats:|graphs$|graph-uses$)/

const dumpScript = `
redis.call('ZREMRANGEBYSCORE', KEYS[1] .. 'quarantined', '-inf', ARGV[1])
local rows = {}
local readers = {
  string = function(key) return { redis.call('GET', key) } end,
  hash = function(key) return redis.call('HGETALL', key) end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  set = function(key) return redis.call('SMEMBERS', key) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
}
for _, key in ipairs(redis.call('KEYS', KEYS[1] .. '*')) do
  rows[#rows + 1] = { key, redis.call('PTTL', key), readers[redis.call('TYPE', key).ok](key) }
end
return rows`

type Row = [key: string, ttlMs: number, values: string[]]

const rounded = (value: number): number => (Math.abs(value) < 1e6 ? Math.round(value * 1e6) / 1e6 + 0 : value)
const pairs = (values: readonly string[]): [string, string][] =>
  values.flatMap((value, i) => (i % 2 === 0 ? [[value, values[i + 1]!] as [string, string]] : []))
const sorted = (entries: Iterable<readonly [string, unknown]>): Record<string, unknown> =>
  Object.fromEntries([...entries].toSorted(([a], [b]) => (a < b ? -1 : 1)))
const numbers = (entries: Iterable<readonly [string, string | number]>): Record<string, unknown> =>
  sorted([...entries].map(([name, value]) => [name, rounded(Number(value))] as const))
const present = (entries: Record<string, unknown>): Record<string, unknown> =>
  sorted(Object.entries(entries).filter(([, value]) => value !== 0))

/** Reads a whole ledger. Quarantines that are over stay until the next begins. */
export const readDump = async (redis: Redis, prefix: string, limits: Limits, nowMs: number): Promise<Dump> => {
  const found = (await redis.eval(dumpScript, 1, prefix, nowMs)) as Row[]
  const rows = found.map(([key, ttlMs, values]): Row => [key.slice(prefix.length), ttlMs, values])
  const told = rows.filter(([key]) => !untold.test(key)).map(row => [row[0], readRow(row, limits)] as const)
  return sorted(told.filter(([, { value }]) => JSON.stringify(value) !== '{}'))
}

const readRow = ([key, ttlMs, values]: Row, limits: Limits): { value: unknown } => {
  const [kind] = key.split(':')
  const read = kind === undefined ? undefined : readers[kind]
  if (!read) throw new Error(`the model knows nothing of the key ${key}`)
  return { value: read(values), ...(perTask.has(kind!) ? { kept: keptOf(ttlMs, limits) } : {}) }
}

const perTask = new Set(['task', 'body', 'result', 'logs', 'journal', 'gone'])

const keptOf = (ttlMs: number, { keepMs, keepFailedMs }: Limits): string => {
  const kept = { keepMs, keepFailedMs, 'twice keepMs': keepMs * 2, 'twice keepFailedMs': keepFailedMs * 2 }
  const slackMs = 120_000
  const found = Object.entries(kept).find(([, ms]) => ttlMs <= ms && ttlMs > ms - slackMs)
  return found?.[0] ?? (ttlMs < 0 ? 'while it lives' : `${ttlMs} ms`)
}

const text = ([value]: readonly string[]): unknown => value
const members = (values: readonly string[]): unknown => values.toSorted()
const scores = (values: readonly string[]): unknown => numbers(pairs(values))

const readers: Readonly<Record<string, (values: string[]) => unknown>> = {
  task: values => readTask(Object.fromEntries(pairs(values))),
  node: values => readNode(Object.fromEntries(pairs(values))),
  body: text,
  logs: text,
  gone: text,
  idempotency: text,
  result: ([value]) => {
    const result = JSON.parse(value!)
    return Array.isArray(result) ? result.length : result.code
  },
  journal: values => values.map(readEntry),
  queue: scores,
  short: scores,
  queues: scores,
  waiting: members,
  flows: scores,
  fairness: values => present(numbers(pairs(values).filter(([name]) => name !== 'cursor'))),
  tenant: scores,
  generated: scores,
  outbox: values => values.map(readOwed).toSorted(byTaskAndVersion),
  group: values => Object.fromEntries(pairs(values)).tasks,
  spent: ([value]) => rounded(Number(value)),
  running: scores,
  queued: scores,
  counters: values => present(numbers(pairs(values))),
  quarantined: scores,
  poisons: scores,
  poison: ([value]) => JSON.parse(value!),
  slots: scores,
  delayed: scores,
  deadlines: scores,
  nodes: scores,
  tasks: values => pairs(values).map(([id]) => id),
  ended: members
}

const listOf = (text: string | undefined): string[] => (text ? text.split(',') : [])

const readTask = (hash: Record<string, string>) => ({
  state: hash.state,
  version: Number(hash.version),
  attempt: Number(hash.attempt),
  token: hash.token,
  node: hash.node,
  tenant: hash.tenant,
  order: Number(hash.order),
  deadlineMs: Number(hash.deadlineMs ?? 0),
  charged: Number(hash.charged ?? 0),
  avoid: listOf(hash.avoid),
  downed: listOf(hash.downed),
  stay: hash.stay,
  vramAboveBytes: hash.vramAbove === undefined ? undefined : Number(hash.vramAbove),
  fingerprint: hash.fingerprint,
  used: sorted(
    Object.entries(hash).flatMap(([field, value]) =>
      field.startsWith('used:') ? [[field.slice(5), Number(value)] as const] : []
    )
  )
})

const readNode = ({ epoch, url, intent, slotTask, slotToken, ...more }: Record<string, string>) => ({
  epoch,
  url,
  intent,
  isDrained: more.drained === '1',
  restart: more.restart,
  restarted: more.restarted,
  faults: Number(more.faults ?? 0),
  quarantines: Number(more.quarantines ?? 0),
  quarantinedUntilMs: Number(more.quarantinedUntilMs ?? 0),
  slot: slotTask === undefined ? undefined : [slotTask, slotToken]
})

type Owed = { readonly task: string; readonly tenant: string; readonly event: ModelEntry }

const readOwed = (line: string): Owed => {
  const { event, tenant } = JSON.parse(line)
  return { task: event.taskId, tenant, event: entryOf(event) }
}

const byTaskAndVersion = (a: Owed, b: Owed): number =>
  a.task === b.task ? a.event.version - b.event.version : a.task < b.task ? -1 : 1

const owedBy = ({ id: task, tenant, webhookEvents, journal }: ModelTask): Owed[] =>
  journal.filter(({ type }) => webhookEvents.includes(type)).map(event => ({ task, tenant, event }))

const readEntry = (line: string): ModelEntry => entryOf(JSON.parse(line))

const entryOf = ({ at, node, ...entry }: Omit<ModelEntry, 'atMs'> & { at: number; taskId: string }): ModelEntry => {
  const { type, version, state, attempt, reason } = entry
  return { type, version, atMs: at, state, attempt, node: node ?? undefined, reason }
}

/** What the ledger must hold if it keeps the model's rules. */
export const expectedDump = (model: LedgerModel, limits: Limits, nowMs: number): Dump => {
  const tasks = [...model.tasks.values()]
  const nodes = [...model.nodes.values()]
  const keys = new Map<string, unknown>()
  const put = (key: string, value: object) => {
    if (Object.keys(value).length > 0) keys.set(key, { value })
  }
  for (const task of tasks) for (const [key, value] of taskKeys(task)) keys.set(key, value)
  for (const { id, beatMs: _, slot, ...node } of nodes)
    put(`node:${id}`, { ...node, slot: slot && [slot.task, slot.token] })
  put(
    'quarantined',
    numbers(nodes.flatMap(node => (node.quarantinedUntilMs > nowMs ? [[node.id, node.quarantinedUntilMs]] : [])))
  )
  for (const [name, { task, nodes: downed, sinceMs }] of model.poisons)
    put(`poison:${name}`, { task, nodes: downed.join(','), sinceMs })
  put('poisons', numbers([...model.poisons].map(([name, { untilMs }]) => [name, untilMs])))
  for (const [name, { id, requestHash }] of model.idempotency)
    keys.set(`idempotency:${name}`, { value: `${id} ${requestHash}` })
  for (const [tenant, own] of by(tasks, task => task.tenant))
    put(
      `tasks:${tenant}`,
      own
        .map(({ id }) => id)
        .toSorted()
        .slice(-limits.maxListed)
    )

  const queued = queuedTasks(model)
  const waiting = new Map<string, Set<string>>()
  for (const [name, queue] of by(queued, task => `${task.tenant}:${task.need}`)) {
    put(`queue:${name}`, numbers(queue.map(task => [task.id, task.orderMs])))
    put(`short:${name}`, numbers(queue.map(task => [task.id, task.work])))
    for (const file of queue[0]!.models) waiting.set(file, (waiting.get(file) ?? new Set()).add(name))
  }
  for (const [file, names] of waiting) put(`waiting:${file}`, [...names].toSorted())
  const byTenant = by(queued, task => task.tenant)
  for (const [tenant, own] of byTenant)
    put(`queues:${tenant}`, numbers([...by(own, task => task.need)].map(([need, [first]]) => [need, first!.orderMs])))
  put('queued', counts(byTenant))
  put('flows', numbers([...byTenant.keys()].map(tenant => [tenant, model.starts.get(tenant) ?? 0])))
  put('running', counts(by(tasks.filter(isInSlot), task => task.tenant)))
  put('fairness', fairness(model))
  const owed = tasks.flatMap(owedBy).toSorted(byTaskAndVersion)
  if (owed.length > 0) keys.set('outbox', { value: owed })
  for (const [id, members] of model.groups) keys.set(`group:${id}`, { value: members.join(' ') })
  for (const [tenant, own] of model.tenants) put(`tenant:${tenant}`, numbers(Object.entries(own)))
  for (const [tenant, times] of model.generated) put(`generated:${tenant}`, numbers(times))
  for (const [day, seconds] of model.spent) keys.set(`spent:${day}`, { value: rounded(seconds) })
  put('delayed', numbers(tasks.flatMap(task => (task.state === 'delayed' ? [[task.id, task.backoffEndsMs]] : []))))
  put('deadlines', numbers(tasks.flatMap(task => (dueMs(task) === undefined ? [] : [[task.id, dueMs(task)!]]))))
  put('slots', numbers(nodes.flatMap(({ id, slot }) => (slot ? [[id, slot.endsMs]] : []))))
  put('nodes', numbers(nodes.map(({ id, beatMs }) => [id, beatMs])))
  const terminal = tasks.filter(task => isTerminal(task.state))
  const ended = counts(by(terminal, task => task.state))
  put('ended', terminal.map(({ id }) => id).toSorted())
  const failed = terminal.filter(task => task.state === 'failed')
  const failedBy = counts(by(failed, task => `failed:${task.problem}`))
  const { lastSweepMs, guardedMs, nodeQuarantines } = model
  put('counters', present({ ...ended, ...failedBy, lastSweepMs, guardedMs, nodeQuarantines }))
  return sorted(keys)
}

const by = <T>(all: readonly T[], nameOf: (one: T) => string): Map<string, T[]> => {
  const groups = new Map<string, T[]>()
  for (const one of all) groups.set(nameOf(one), [...(groups.get(nameOf(one)) ?? []), one])
  return groups
}

const counts = (groups: ReadonlyMap<string, readonly unknown[]>): Record<string, unknown> =>
  numbers([...groups].map(([name, all]) => [name, all.length]))

const fairness = ({ virtualTime, starts, overtaken }: LedgerModel): Record<string, unknown> => {
  const entries = [
    ['v', virtualTime] as const,
    ...[...starts].map(([tenant, start]) => [`s:${tenant}`, start] as const),
    ...[...overtaken].map(([tenant, count]) => [`o:${tenant}`, count] as const)
  ]
  return present(numbers(entries))
}

const taskKeys = (task: ModelTask): [string, unknown][] => {
  const { id, state, version, attempt, token, node, tenant, orderMs, deadlineMs, charged, used } = task
  const { avoid, downed, stay, vramAboveBytes, fingerprint } = task
  const shown = {
    ...{ state, version, attempt, token, node, tenant, order: orderMs, deadlineMs, charged },
    ...{ avoid, downed, stay, vramAboveBytes, fingerprint }
  }
  const keep = state === 'failed' ? 'keepFailedMs' : 'keepMs'
  const kept = isTerminal(state) ? keep : 'while it lives'
  const result = task.problem ?? task.outputs
  const values: [string, unknown][] = [
    ['task', { ...shown, used: sorted(Object.entries(used)) }],
    ['body', `body of ${id}`],
    ['journal', task.journal],
    ...(task.outputs > 0 || task.problem !== undefined || state === 'succeeded'
      ? [['result', result] as [string, unknown]]
      : []),
    ...(task.log === '' ? [] : [['logs', task.log] as [string, unknown]])
  ]
  const keys = values.map(([name, value]): [string, unknown] => [`${name}:${id}`, { value, kept }])
  return isTerminal(state) ? [...keys, [`gone:${id}`, { value: tenant, kept: `twice ${keep}` }]] : keys
}
