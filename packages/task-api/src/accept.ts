import { createHash } from 'node:crypto'
import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import { type Admission, admit } from '@comfy-balancer/domain/admission'
import { fingerprintText } from '@comfy-balancer/domain/fingerprint'
import type { Flaw } from '@comfy-balancer/domain/workflow'
import { type Caller, requireScope } from '@comfy-balancer/service-kit/caller'
import { blockedUrlFlaws } from '@comfy-balancer/service-kit/input-urls'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { Allowance } from '@comfy-balancer/service-kit/rate-limit'
import type { Left, OverQuota } from '@comfy-balancer/task-store/tasks'
import { uuidv7obj } from 'uuidv7'
import type { TaskApiDeps } from './deps.ts'
import { fromLedger } from './ledger-errors.ts'

const maxMetadataBytes = 4_096

/** A request to accept: whose it is, its parsed form, its text and its idempotency key. */
export type Submission = {
  readonly caller: Caller
  readonly body: GenerateRequest
  readonly text: string
  readonly idempotencyKey: string | undefined
}

/** What became of a request: the task's id, whether it had been accepted before, and what its tenant has left to accept. */
export type Acceptance = {
  readonly id: string
  readonly replayed: boolean
  readonly generations: Allowance | undefined
}

/** Admits a request and writes it into the ledger. Throws a Refusal. */
export const accept = async (
  deps: TaskApiDeps,
  { caller, body, text, idempotencyKey }: Submission
): Promise<Acceptance> => {
  requireScope(caller, 'workflows:raw', 'a workflow of your own (prompt instead of template)')
  if (deps.isDraining()) throw new Refusal('draining', 'This service is shutting down; send the request to another one')
  const metadata = metadataOf(body)
  const { need, outputs, work, fingerprint } = await admission(deps, body, text)
  const accepted = await fromLedger(
    deps.ledger.tasks.enqueue({
      id: `task_${uuidv7obj().toHex()}`,
      tenant: caller.tenant,
      body: text,
      need,
      outputs,
      work,
      fingerprint,
      priority: body.priority ?? 50,
      timeoutSeconds: body.timeoutSeconds ?? deps.defaults.timeoutSeconds,
      deadlineSeconds: body.deadlineSeconds ?? deps.defaults.deadlineSeconds,
      clientId: body.client_id,
      metadata,
      idempotency: idempotencyKey === undefined ? undefined : { key: idempotencyKey, requestHash: hashOf(text) }
    })
  )
  if (accepted.kind === 'key-reused') {
    throw new Refusal('idempotency-key-reused', 'This Idempotency-Key was used for another body in the last 24 hours')
  }
  if (accepted.kind === 'workflow-quarantined') {
    const detail = `the workflow took ComfyUI down on several nodes with ${accepted.task}; it is refused for another ${Math.ceil(accepted.leftMs / 1000)} s`
    throw new Refusal('workflow-quarantined', detail, { errors: [{ pointer: '/prompt', code: 'quarantined', detail }] })
  }
  if (accepted.kind === 'memory-full') {
    throw new Refusal('queue-full', 'The ledger is short of memory; nothing is accepted now', { retryAfterSeconds: 30 })
  }
  if (accepted.kind === 'queue-full') {
    throw new Refusal('queue-full', `${accepted.waiting} tasks wait already`, { retryAfterSeconds: 30 })
  }
  if (accepted.kind === 'over-quota') throw quotaExceeded(accepted)
  if (accepted.kind === 'replayed') return { id: accepted.id, replayed: true, generations: undefined }
  return { id: accepted.id, replayed: false, generations: accepted.generations && allowanceOf(accepted.generations) }
}

const allowanceOf = ({ limit, left, backMs }: Left): Allowance => ({
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

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex')

const metadataOf = (body: GenerateRequest): Record<string, unknown> => {
  const metadata = body.metadata ?? {}
  if (Buffer.byteLength(JSON.stringify(metadata)) <= maxMetadataBytes) return metadata as Record<string, unknown>
  const detail = `metadata is larger than ${maxMetadataBytes} bytes`
  throw new Refusal('validation-failed', detail, { errors: [{ pointer: '/metadata', code: 'too-large', detail }] })
}

const admission = async (
  deps: TaskApiDeps,
  body: GenerateRequest,
  text: string
): Promise<Admission & { readonly fingerprint: string }> => {
  const read = deps.readWorkflow(text)
  if ('flaws' in read) throw invalid(read.flaws)
  const nodes = await fromLedger(deps.knownNodes())
  if (nodes.length === 0) {
    throw new Refusal('fleet-unavailable', 'No node has been seen yet: start a comfy-service', {
      retryAfterSeconds: 10
    })
  }
  const verdict = admit(read.workflow, { ...body.nodeSelector, ...deps.pinnedTo }, nodes)
  if (verdict.kind === 'invalid') throw invalid(verdict.flaws)
  if (verdict.kind === 'incapable') {
    throw new Refusal('no-capable-node', summary(verdict.flaws), { errors: verdict.flaws })
  }
  const isUpload = (classType: string, input: string) => nodes.some(node => node.capability.isUpload(classType, input))
  const urlFlaws = blockedUrlFlaws(read.workflow, { outputs: verdict.admission.outputs, isUpload }, deps.urlRules)
  if (urlFlaws.length > 0) throw new Refusal('input-url-blocked', summary(urlFlaws), { errors: urlFlaws })
  return { ...verdict.admission, fingerprint: hashOf(fingerprintText(read.workflow)).slice(0, 32) }
}

const invalid = (flaws: readonly Flaw[]): Refusal => new Refusal('workflow-invalid', summary(flaws), { errors: flaws })

const summary = (flaws: readonly Flaw[]): string => {
  const [first] = flaws
  const more = flaws.length > 1 ? ` (and ${flaws.length - 1} more)` : ''
  return first ? `${first.pointer}: ${first.detail}${more}` : 'the workflow cannot run'
}
