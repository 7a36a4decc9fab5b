import type { OutputFormat } from '@comfy-balancer/domain/output-format'
import type { LedgerState } from '@comfy-balancer/domain/task-state'

/** A task as the ledger holds it. Instants are Redis milliseconds. */
export type TaskRecord = {
  readonly id: string
  readonly state: LedgerState
  readonly version: number
  readonly tenant: string
  readonly attempt: number
  readonly token: string | undefined
  readonly node: string | undefined
  readonly need: string
  readonly work: number
  readonly outputs: readonly string[]
  readonly priority: number
  readonly timeoutSeconds: number
  readonly createdMs: number
  readonly firstClaimedMs: number | undefined
  readonly claimedMs: number | undefined
  readonly startedMs: number | undefined
  readonly finishedMs: number | undefined
  readonly charged: number
  /** How often it ran out of GPU memory. */
  readonly outOfMemory: number
  readonly loadSeconds: number | undefined
  readonly executionSeconds: number | undefined
  /** Models had to be loaded for the attempt that succeeded. */
  readonly loaded: boolean
  readonly clientId: string | undefined
  /** Why its latest attempt was given to its node, as dispatch wrote it. */
  readonly why: unknown
  readonly metadata: Readonly<Record<string, unknown>>
  readonly seed: string | undefined
  readonly template: string | undefined
  readonly group: string | undefined
  readonly traceId: string | undefined
  readonly outputFormat: OutputFormat | undefined
}

/** A hash as scripts answer it, in pairs. */
export const flatHash = (row: readonly string[]): Record<string, string> => {
  const hash: Record<string, string> = {}
  for (let at = 0; at < row.length; at += 2) hash[row[at]!] = row[at + 1]!
  return hash
}

const number = (text: string | undefined): number | undefined => (text ? Number(text) : undefined)

/** Reads a task's hash; undefined when there is none. */
export const readTaskRecord = (id: string, hash: Readonly<Record<string, string>>): TaskRecord | undefined => {
  if (!hash.state) return undefined
  return {
    id,
    state: hash.state as LedgerState,
    version: Number(hash.version),
    tenant: hash.tenant ?? '',
    attempt: Number(hash.attempt),
    token: hash.token,
    node: hash.node,
    need: hash.need ?? '',
    work: Number(hash.work),
    outputs: JSON.parse(hash.outputNodes ?? '[]'),
    priority: Number(hash.priority),
    timeoutSeconds: Number(hash.timeoutMs) / 1000,
    createdMs: Number(hash.createdMs),
    firstClaimedMs: number(hash.firstClaimedMs),
    claimedMs: number(hash.claimedMs),
    startedMs: number(hash.startedMs),
    finishedMs: number(hash.finishedMs),
    charged: Number(hash.charged ?? 0),
    outOfMemory: Number(hash['used:out-of-memory'] ?? 0),
    loadSeconds: number(hash.loadSeconds),
    executionSeconds: number(hash.executionSeconds),
    loaded: hash.loaded === '1',
    clientId: hash.clientId,
    why: JSON.parse(hash.why ?? 'null'),
    metadata: JSON.parse(hash.metadata ?? '{}'),
    seed: hash.seed,
    template: hash.template,
    group: hash.group,
    traceId: hash.traceId,
    outputFormat: hash.outputFormat === undefined ? undefined : JSON.parse(hash.outputFormat)
  }
}
