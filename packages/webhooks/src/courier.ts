import type { Egress, MessageAnswer } from '@comfy-balancer/service-kit/egress'
import { EgressError } from '@comfy-balancer/service-kit/egress'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Delivery, Try } from '@comfy-balancer/task-store/deliveries'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { HostGate } from './host-gate.ts'
import { pauseAfter } from './retry-schedule.ts'
import { signedHeaders } from './signature.ts'
import { noTally, type WebhookTally } from './tally.ts'

export type CourierDeps = {
  readonly ledger: Ledger
  readonly egress: Pick<Egress, 'post'>
  readonly gate: HostGate
  readonly log: Log
  readonly tally?: WebhookTally
  readonly random?: () => number
}

/** Brings the events that a task's webhook is owed to it. */
export type Courier = (task: string, signal: AbortSignal) => Promise<number | undefined>

type Attempted = { readonly answer: MessageAnswer } | { readonly error: EgressError }

/**
 * Delivers the events that a task's webhook is owed, in order, each as the one before it is settled. Resolves with the ms after which to go
 * on, or with undefined when nothing is owed any more. Rejects when the ledger does not answer, or with the signal's reason: what was
 * under way then is sent again.
 */
export const createCourier = (
  pausesMs: readonly number[],
  { ledger, egress, gate, log, tally = noTally, random = Math.random }: CourierDeps
): Courier => {
  const send = async ({ id, tenant, url, body }: Delivery, signal: AbortSignal): Promise<Attempted> => {
    const headers = signedHeaders(id, body, await ledger.webhookSecrets.current(tenant), Date.now())
    try {
      return { answer: await egress.post(url, { headers, body, signal }) }
    } catch (error) {
      if (error instanceof EgressError) return { error }
      throw error
    }
  }

  const judge = (delivery: Delivery, attempted: Attempted): Try => {
    const answer = 'answer' in attempted ? attempted.answer : undefined
    const status = answer?.status
    if (status !== undefined && status >= 200 && status < 300) return { outcome: 'delivered', status }
    if (status === 410) return { outcome: 'gone', status, error: 'the receiver wants no more events of this task' }
    const error = 'error' in attempted ? attempted.error.message : `the receiver answered ${status}`
    const ageMs = Date.now() - delivery.owedMs
    const pauseMs = pauseAfter({ tries: delivery.tries, ageMs, retryAfter: answer?.retryAfter }, pausesMs, random)
    return pauseMs === undefined ? { outcome: 'failed', status, error } : { outcome: 'retry', status, error, pauseMs }
  }

  const deliver = async (delivery: Delivery, host: string, signal: AbortSignal): Promise<Try> => {
    const startedMs = performance.now()
    let answered = false
    try {
      const attempted = await send(delivery, signal)
      answered = 'answer' in attempted
      const verdict = judge(delivery, attempted)
      await ledger.deliveries.tried(delivery, verdict)
      const tookMs = performance.now() - startedMs
      tally.tried(verdict.outcome, tookMs / 1_000)
      tell(log, delivery, verdict, tookMs)
      return verdict
    } finally {
      gate.leave(host, { tookMs: performance.now() - startedMs, answered })
    }
  }

  return async (task, signal) => {
    while (!signal.aborted) {
      const next = await ledger.deliveries.next(task)
      if (!next) return undefined
      if (next.dueInMs > 0) return next.dueInMs
      const host = new URL(next.delivery.url).host
      const admitted = gate.enter(host, performance.now())
      if (admitted !== 'in') return admitted
      const { outcome, pauseMs } = await deliver(next.delivery, host, signal)
      if (outcome === 'retry') return pauseMs
    }
    return 0
  }
}

const tell = (
  log: Log,
  { task, version, type, tries }: Delivery,
  { outcome, status, error }: Try,
  ms: number
): void => {
  const fields = { taskId: task, version, event: type, tries: tries + 1, status, durationMs: Math.round(ms) }
  if (outcome === 'delivered') log.debug(fields, 'webhook delivered')
  else if (outcome === 'retry') log.info({ ...fields, reason: error }, 'webhook not delivered yet')
  else log.warn({ ...fields, reason: error }, 'webhook given up')
}
