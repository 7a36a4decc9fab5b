import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { Allowance } from '@comfy-balancer/service-kit/rate-limit'
import type { Accepted, Left, OverQuota } from '@comfy-balancer/task-store/tasks'

/** Memory comes back as ended tasks expire, or when somebody gives Redis more. */
const memoryFullSeconds = 30

/** What to tell a caller whose request the ledger did not take; `soonestEnd` is when a full queue gets shorter. */
export const refusalOf = async (
  answer: Exclude<Accepted, { readonly id: string }>,
  soonestEnd: () => Promise<number>
): Promise<Refusal> => {
  if (answer.kind === 'key-reused') {
    return new Refusal('idempotency-key-reused', 'This Idempotency-Key was used for another body in the last 24 hours')
  }
  if (answer.kind === 'workflow-quarantined') {
    const detail = `the workflow took ComfyUI down on several nodes with ${answer.task}; it is refused for another ${Math.ceil(answer.leftMs / 1000)} s`
    const errors = [{ pointer: '/prompt', code: 'quarantined', detail }]
    return new Refusal('workflow-quarantined', detail, { errors })
  }
  if (answer.kind === 'over-quota')
    return quotaExceeded(answer.limit === 'maxQueued' ? { ...answer, againMs: (await soonestEnd()) * 1_000 } : answer)
  if (answer.kind === 'queue-full')
    return new Refusal('queue-full', `${answer.waiting} tasks wait already`, { retryAfterSeconds: await soonestEnd() })
  const detail = 'The ledger is short of memory; nothing is accepted now'
  return new Refusal('queue-full', detail, { retryAfterSeconds: memoryFullSeconds })
}

/** What a tenant has left of its generations, for the headers. */
export const allowanceOf = ({ limit, left, backMs }: Left): Allowance => ({
  policy: 'generations',
  limit,
  windowSeconds: 3_600,
  left,
  resetSeconds: backMs / 1_000
})

const quotaWords = {
  maxQueued: 'tasks of this tenant wait already, as many as may',
  generationsPerHour: 'tasks of this tenant were accepted in the last hour, as many as may be',
  gpuSecondsPerDay: 'GPU-seconds of this tenant are used up until midnight UTC'
} as const

const quotaExceeded = ({ limit, most, againMs }: OverQuota): Refusal =>
  new Refusal('quota-exceeded', `${most} ${quotaWords[limit]}`, {
    retryAfterSeconds: againMs / 1_000,
    allowance: limit === 'generationsPerHour' ? allowanceOf({ limit: most, left: 0, backMs: againMs }) : undefined
  })
