import type { Need } from '@comfy-balancer/contract/need'
import type { OutputFormat } from '@comfy-balancer/domain/output-format'
import { needDigest } from './need-digest.ts'

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
  /** Of its sampling, in all its digits. */
  readonly seed?: string | undefined
  /** The template it was made from. */
  readonly template?: string | undefined
  /** What its pictures are converted to. */
  readonly outputFormat?: OutputFormat | undefined
  /** The group it is accepted with. */
  readonly group?: string | undefined
  /** The trace that it was posted within. */
  readonly traceId?: string | undefined
  /** Where its events are posted to, and which. */
  readonly webhook?: { readonly url: string; readonly events: readonly string[] } | undefined
  readonly idempotency: Idempotency | undefined
}

/** What makes a repeated request the same one. */
export type Idempotency = { readonly key: string; readonly requestHash: string }

/** Tasks about to be accepted together: all of them or none. */
export type NewGroup = {
  readonly id: string
  readonly tenant: string
  readonly tasks: readonly NewTask[]
  readonly idempotency: Idempotency | undefined
}

/** One point of priority is worth six seconds in the queue, so nothing starves (dispatch.md). The usual priority has no head start. */
const headStartMs = (priority: number): number => (priority - 50) * 6_000

/** A new task as `enqueue.lua` takes it. */
export const textsOf = (task: NewTask): (string | number)[] => {
  const { clientId, seed, template, group, outputFormat, traceId, webhook } = task
  const fields = Object.entries({
    work: task.work,
    priority: task.priority,
    timeoutMs: task.timeoutSeconds * 1000,
    outputNodes: JSON.stringify(task.outputs),
    metadata: JSON.stringify(task.metadata),
    ...(clientId === undefined ? {} : { clientId }),
    ...(seed === undefined ? {} : { seed }),
    ...(template === undefined ? {} : { template }),
    ...(outputFormat === undefined ? {} : { outputFormat: JSON.stringify(outputFormat) }),
    ...(group === undefined ? {} : { group }),
    ...(traceId === undefined ? {} : { traceId }),
    ...(webhook && { webhookUrl: webhook.url, webhookEvents: ` ${webhook.events.join(' ')} ` })
  }).flat()
  const need = [needDigest(task.need), JSON.stringify(task.need)]
  const order = [headStartMs(task.priority), task.deadlineSeconds * 1000]
  return [task.id, task.body, ...need, ...order, task.fingerprint, fields.length, ...fields]
}
