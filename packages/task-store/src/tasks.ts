import type { TaskEvent } from '@comfy-balancer/contract/event'
import type { Problem } from '@comfy-balancer/contract/problem'
import type { Usual } from '@comfy-balancer/domain/eta'
import type { LedgerState } from '@comfy-balancer/domain/task-state'
import { readEvent } from './journal-entry.ts'
import type { StoredOutput } from './manifest.ts'
import { type Idempotency, type NewGroup, type NewTask, textsOf } from './new-task.ts'
import { type NodeRecord, type NodeRow, readNodeRow } from './node-record.ts'
import type { RunScript } from './scripts.ts'
import type { StoreDeps } from './store-deps.ts'
import { flatHash, readTaskRecord, type TaskRecord } from './task-record.ts'

/** A group as the ledger holds it. */
export type GroupRecord = { readonly id: string; readonly createdMs: number; readonly tasks: readonly string[] }

/** Which limit of its tenant keeps a task out, and when that may have changed. */
export type OverQuota = {
  readonly kind: 'over-quota'
  readonly limit: 'maxQueued' | 'gpuSecondsPerDay' | 'generationsPerHour'
  readonly most: number
  readonly againMs: number
}

/** What a tenant has left of an allowance; after `backMs` more of it is given back. */
export type Left = { readonly limit: number; readonly left: number; readonly backMs: number }

export type Accepted =
  | {
      readonly kind: 'accepted'
      readonly id: string
      readonly generations: Left | undefined
      /** How it stood when it was accepted; undefined for a group. */
      readonly task: FoundTask | undefined
    }
  | { readonly kind: 'replayed'; readonly id: string }
  | OverQuota
  | { readonly kind: 'key-reused' }
  | { readonly kind: 'memory-full' }
  | { readonly kind: 'workflow-quarantined'; readonly leftMs: number; readonly task: string }
  | { readonly kind: 'queue-full'; readonly waiting: number }

/** What a task has so far: its outputs, or the problem it failed with. */
export type TaskResult = { readonly outputs: readonly StoredOutput[]; readonly error: Problem | undefined }

/** How a task stood when it was read. */
export type Standing = {
  readonly nowMs: number
  /** While it waits: its place in the queue of its tenant and need, what waits of its tenant and of each other (of 64 tenants). */
  readonly before: number
  readonly inQueue: number
  readonly ofTenant: number
  readonly others: readonly number[]
  /** While it waits: what its need usually takes, and what its graph took. */
  readonly usual: Usual
  readonly knownSeconds: number | undefined
  /** While it is at a node. */
  readonly node: NodeRecord | undefined
}

/** A task's record with what came of it, and how it stood. */
export type FoundTask = TaskRecord & { readonly result: TaskResult; readonly standing: Standing }

export type Tasks = ReturnType<typeof createTasks>

const accept = async (run: RunScript, of: NewTask | NewGroup, tasks: readonly NewTask[]): Promise<Accepted> => {
  const { key = '', requestHash = '' } = of.idempotency ?? {}
  const texts = tasks.flatMap(textsOf)
  const answer = await run('enqueue', of.id, of.tenant, key, requestHash, tasks.length, ...texts)
  const [kind, detail, more, found] = answer as [Accepted['kind'], string, unknown, FoundReply | null]
  if (kind === 'queue-full') return { kind, waiting: Number(detail) }
  if (kind === 'over-quota') return overQuota(detail)
  if (kind === 'workflow-quarantined') return { kind, leftMs: Number(detail), task: JSON.parse(String(more)).task }
  if (kind === 'accepted') {
    return { kind, id: detail, generations: readLeft(more), task: found ? readFound(detail, found) : undefined }
  }
  return kind === 'replayed' ? { kind, id: detail } : { kind }
}

/** Accepting, reading, listing and cancelling tasks. */
export const createTasks = ({ redis, keys, run, limits }: StoreDeps) => ({
  /** Accepts a task, or says why not. Safe to repeat with the same id or idempotency key. */
  enqueue: (task: NewTask): Promise<Accepted> => accept(run, task, [task]),

  /** Accepts all tasks of a group in one step, or none; the answer's id is the group's. Safe to repeat like `enqueue`. */
  enqueueGroup: (group: NewGroup): Promise<Accepted> => accept(run, group, group.tasks),

  /** The id of the task or group that this very request gave before; undefined when the key is new or another request's. */
  async accepted(tenant: string, { key, requestHash }: Idempotency): Promise<string | undefined> {
    const [id, hash] = (await redis.get(keys.idempotency(tenant, key)))?.split(' ') ?? []
    return hash === requestHash ? id : undefined
  },

  /** The group; undefined when it is not there, or belongs to another tenant. */
  async findGroup(id: string, tenant: string): Promise<GroupRecord | undefined> {
    const hash = await redis.hgetall(keys.group(id))
    if (hash.tenant !== tenant) return undefined
    return { id, createdMs: Number(hash.createdMs), tasks: (hash.tasks ?? '').split(' ') }
  },

  /** The task; undefined when it is not there, or belongs to another tenant. */
  async find(id: string, tenant?: string): Promise<FoundTask | undefined> {
    const found = readFound(id, (await run('task', id)) as FoundReply)
    return tenant === undefined || found?.tenant === tenant ? found : undefined
  },

  /** Whether the ledger still knows this task, whoever's it is. */
  async exists(id: string): Promise<boolean> {
    return (await redis.exists(keys.task(id))) === 1
  },

  /** True when there was such a task of this tenant and its retention has ended lately. */
  async isGone(id: string, tenant: string): Promise<boolean> {
    return (await redis.get(keys.gone(id))) === tenant
  },

  /** The request as it came, to the letter. */
  async body(id: string): Promise<string | undefined> {
    return (await redis.get(keys.body(id))) ?? undefined
  },

  /** What ComfyUI wrote into its log during the attempts that have ended; empty when nothing is known. */
  async log(id: string): Promise<string> {
    return (await redis.get(keys.logs(id))) ?? ''
  },

  /** The journal's entries after a version, oldest first; at most the last 64 are kept. */
  async journal(id: string, afterVersion: number): Promise<TaskEvent[]> {
    const entries = await redis.lrange(keys.journal(id), 0, -1)
    return entries.map(text => readEvent(JSON.parse(text))).filter(event => event.version > afterVersion)
  },

  /** Ids of a tenant's tasks, newest first, from the one before the given id on. */
  async list(tenant: string, before: string | undefined, limit: number): Promise<string[]> {
    const from = before === undefined ? '+' : `(${before}`
    return redis.zrange(keys.tasks(tenant), from, '-', 'BYLEX', 'REV', 'LIMIT', '0', limit)
  },

  /** Ids of the tasks that ended last, of every tenant, newest first: for operators. */
  async ended(): Promise<string[]> {
    return redis.lrange(keys.ended(), 0, limits.maxEnded - 1)
  },

  /** Cancels; the answer is 'cancelled', 'not-found' or the state in which the task had finished already. */
  async cancel(id: string, tenant: string): Promise<'cancelled' | 'not-found' | LedgerState> {
    return (await run('cancel', id, tenant)) as 'cancelled' | 'not-found' | LedgerState
  }
})

const readFound = (id: string, reply: FoundReply): FoundTask | undefined => {
  const [nowMs, fields, text, before, learned, nodes, crowd] = reply
  const record = readTaskRecord(id, flatHash(fields))
  if (!record) return undefined
  const [execution, load, knownSeconds] = learned.map(text => (text === null ? undefined : Number(text)))
  const [inQueue = 0, ofTenant = 0, ...others] = crowd
  const place = { before: before ?? 0, inQueue, ofTenant, others }
  const standing = { nowMs, ...place, usual: { execution, load }, knownSeconds, node: nodes.flatMap(readNodeRow)[0] }
  return { ...record, result: readResult(record, text), standing }
}

/** What a task failed with is no output, and an attempt that went back leaves its outputs behind. */
const readResult = ({ state }: TaskRecord, text: string | null): TaskResult => {
  const result: StoredOutput[] | Problem = JSON.parse(text ?? '[]')
  if (Array.isArray(result)) return { outputs: state === 'failed' ? [] : result, error: undefined }
  return { outputs: [], error: state === 'failed' ? result : undefined }
}

type FoundReply = [
  nowMs: number,
  fields: string[],
  result: string | null,
  before: number | null,
  learned: (string | null)[],
  nodes: NodeRow[],
  crowd: number[]
]

const overQuota = (detail: unknown): OverQuota => {
  const [limit, most, againMs] = detail as [OverQuota['limit'], string, string]
  return { kind: 'over-quota', limit, most: Number(most), againMs: Number(againMs) }
}

const readLeft = (row: unknown): Left | undefined => {
  if (!Array.isArray(row)) return undefined
  const [limit, left, backMs] = row.map(Number) as [number, number, number]
  return { limit, left, backMs }
}
