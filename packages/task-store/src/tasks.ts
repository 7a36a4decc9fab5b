import type { TaskEvent } from '@comfy-balancer/contract/event'
import type { Need } from '@comfy-balancer/contract/need'
import type { Problem } from '@comfy-balancer/contract/problem'
import type { LedgerState } from '@comfy-balancer/domain/task-state'
import type { ChainableCommander } from 'ioredis'
import type { StoredOutput } from './manifest.ts'
import { needDigest } from './need-digest.ts'
import type { StoreDeps } from './store-deps.ts'
import { readTaskRecord, type TaskRecord } from './task-record.ts'

/** A task about to be accepted. */
export type NewTask = {
  readonly id: string
  readonly tenant: string
  readonly body: string
  readonly need: Need
  readonly outputs: readonly string[]
  readonly work: number
  /** Digest of what `fingerprintText` makes of its workflow. */
  readonly fingerprint: string
  readonly priority: number
  readonly timeoutSeconds: number
  readonly deadlineSeconds: number
  readonly clientId: string | undefined
  readonly metadata: Readonly<Record<string, unknown>>
  readonly idempotency: { readonly key: string; readonly requestHash: string } | undefined
}

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
  | { readonly kind: 'accepted'; readonly id: string; readonly generations: Left | undefined }
  | { readonly kind: 'replayed'; readonly id: string }
  | OverQuota
  | { readonly kind: 'key-reused' }
  | { readonly kind: 'memory-full' }
  | { readonly kind: 'workflow-quarantined'; readonly leftMs: number; readonly task: string }
  | { readonly kind: 'queue-full'; readonly waiting: number }

/** What a task has so far: its outputs, or the problem it failed with. */
export type TaskResult = { readonly outputs: readonly StoredOutput[]; readonly error: Problem | undefined }

/** A task's record with what came of it. */
export type FoundTask = TaskRecord & { readonly result: TaskResult }

export type Tasks = ReturnType<typeof createTasks>

/** One point of priority is worth six seconds in the queue, so nothing starves (dispatch.md). The usual priority has no head start. */
const headStartMs = (priority: number): number => (priority - 50) * 6_000

/** Accepting, reading, listing and cancelling tasks. */
export const createTasks = ({ redis, keys, run }: StoreDeps) => ({
  /** Accepts a task, or says why not. Safe to repeat with the same id or idempotency key. */
  async enqueue(task: NewTask): Promise<Accepted> {
    const fields = {
      work: task.work,
      priority: task.priority,
      timeoutMs: task.timeoutSeconds * 1000,
      outputNodes: JSON.stringify(task.outputs),
      metadata: JSON.stringify(task.metadata),
      ...(task.clientId === undefined ? {} : { clientId: task.clientId })
    }
    const [kind, detail, more] = (await run(
      'enqueue',
      task.id,
      task.tenant,
      task.idempotency?.key ?? '',
      task.idempotency?.requestHash ?? '',
      task.body,
      needDigest(task.need),
      JSON.stringify(task.need),
      headStartMs(task.priority),
      task.deadlineSeconds * 1000,
      task.fingerprint,
      ...Object.entries(fields).flat()
    )) as [Accepted['kind'], string, unknown]
    if (kind === 'queue-full') return { kind, waiting: Number(detail) }
    if (kind === 'over-quota') return overQuota(detail)
    if (kind === 'workflow-quarantined') return { kind, leftMs: Number(detail), task: JSON.parse(String(more)).task }
    if (kind === 'accepted') return { kind, id: detail, generations: readLeft(more) }
    return kind === 'replayed' ? { kind, id: detail } : { kind }
  },

  /** The task; undefined when it is not there, or belongs to another tenant. */
  async find(id: string, tenant?: string): Promise<FoundTask | undefined> {
    const [hash, text] = await together<[Record<string, string>, string | null]>(
      redis.pipeline().hgetall(keys.task(id)).get(keys.result(id))
    )
    const record = readTaskRecord(id, hash)
    if (!record || (tenant !== undefined && record.tenant !== tenant)) return undefined
    return { ...record, result: readResult(record, text) }
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

  /** How many tasks of the same need and tenant stand before it, plus one. */
  async position(record: TaskRecord): Promise<number> {
    const rank = await redis.zrank(keys.queue(record.tenant, record.need), record.id)
    return (rank ?? 0) + 1
  },

  /** The journal's entries after a version, oldest first; at most the last 64 are kept. */
  async journal(id: string, afterVersion: number): Promise<TaskEvent[]> {
    const entries = await redis.lrange(keys.journal(id), 0, -1)
    return entries
      .map(text => JSON.parse(text) as Omit<TaskEvent, 'at'> & { at: number })
      .filter(entry => entry.version > afterVersion)
      .map(entry => ({ ...entry, at: new Date(entry.at).toISOString() }))
  },

  /** Ids of a tenant's tasks, newest first, from the one before the given id on. */
  async list(tenant: string, before: string | undefined, limit: number): Promise<string[]> {
    const from = before === undefined ? '+' : `(${before}`
    return redis.zrange(keys.tasks(tenant), from, '-', 'BYLEX', 'REV', 'LIMIT', '0', limit)
  },

  /** Cancels; the answer is 'cancelled', 'not-found' or the state in which the task had finished already. */
  async cancel(id: string, tenant: string): Promise<'cancelled' | 'not-found' | LedgerState> {
    return (await run('cancel', id, tenant)) as 'cancelled' | 'not-found' | LedgerState
  }
})

/** Sends commands as one message. Rejects with the first error among their answers. */
const together = async <T extends unknown[]>(pipeline: ChainableCommander): Promise<T> => {
  const answers = (await pipeline.exec()) ?? []
  for (const [error] of answers) if (error) throw error
  return answers.map(([, answer]) => answer) as T
}

/** The result is read just after the record: what the task failed with in between is no result of the state that is shown. */
const readResult = ({ state }: TaskRecord, text: string | null): TaskResult => {
  const result: StoredOutput[] | Problem = JSON.parse(text ?? '[]')
  if (Array.isArray(result)) return { outputs: state === 'failed' ? [] : result, error: undefined }
  return { outputs: [], error: state === 'failed' ? result : undefined }
}

const overQuota = (detail: unknown): OverQuota => {
  const [limit, most, againMs] = detail as [OverQuota['limit'], string, string]
  return { kind: 'over-quota', limit, most: Number(most), againMs: Number(againMs) }
}

const readLeft = (row: unknown): Left | undefined => {
  if (!Array.isArray(row)) return undefined
  const [limit, left, backMs] = row.map(Number) as [number, number, number]
  return { limit, left, backMs }
}
