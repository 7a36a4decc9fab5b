import { ComfyUiError } from '@comfy-balancer/comfyui/errors'
import type { Verdict } from '@comfy-balancer/comfyui/verdict'
import { type Problem, problem } from '@comfy-balancer/contract/problem'
import type { RetryClass } from '@comfy-balancer/domain/retry'
import { StorageError } from '@comfy-balancer/storage/object-store'
import type { StoredOutput } from '@comfy-balancer/task-store/manifest'
import { InputUnavailable } from '../inputs/input-unavailable.ts'
import { OutputMissing } from './collector.ts'

/** Another attempt may succeed; `problem` is what the task fails with when there can be none. */
export type RetryOutcome = {
  readonly kind: 'retry'
  readonly class: RetryClass
  readonly problem: Problem
  readonly why: string
  readonly errorSource: 'ours' | 'comfyui'
}

/** How an attempt ended. `abandoned`: the ledger took it from us, or we hand it back ourselves. */
export type Outcome =
  | { readonly kind: 'succeeded'; readonly outputs: readonly StoredOutput[] }
  | { readonly kind: 'failed'; readonly problem: Problem }
  | RetryOutcome
  | { readonly kind: 'abandoned' }

/** An outcome that gives the task no result. */
export type NoResult = Exclude<Outcome, { kind: 'succeeded' }>

type Ended = Exclude<Verdict, { kind: 'succeeded' }>

/** Words of errors that are about the machine and not the workflow: another node may run it. */
const nodeFault = /CUDA error|CUDA driver|cuDNN error|device-side assert|illegal memory access|No space left on device/i

const exhausted = (why: string): Problem =>
  problem('attempts-exhausted', `several nodes could not finish this task; last: ${why}`)

const retry = (
  retryClass: RetryClass,
  why: string,
  { last = exhausted(why), errorSource = 'comfyui' }: { last?: Problem; errorSource?: RetryOutcome['errorSource'] } = {}
): RetryOutcome => ({ kind: 'retry', class: retryClass, problem: last, why, errorSource })

/** This node drains: hand-backs count nowhere. */
export const handedBack = retry('hand-back', 'the node drains', { errorSource: 'ours' })

/** Something of ours failed that had nothing to do with ComfyUI. */
export const brokenOff = retry('node', 'comfy-service failed on our side', { errorSource: 'ours' })

/** What it means that an output of a finished prompt could not be fetched or stored. */
export const collectingFailed = (error: unknown): NoResult => {
  if (error instanceof StorageError && error.cause instanceof ComfyUiError) return collectingFailed(error.cause)
  const why = error instanceof Error ? error.message : String(error)
  if (error instanceof OutputMissing) return { kind: 'failed', problem: problem('output-missing', why) }
  if (error instanceof ComfyUiError) return retry('comfyui-died', why)
  const last = problem('output-not-stored', why)
  if (error instanceof StorageError && error.code === 'too-large') return { kind: 'failed', problem: last }
  return retry('node', why, { last, errorSource: 'ours' })
}

/** What it means that the files which come along with the workflow could not be put in place. Throws what is neither their fault nor ComfyUI's. */
export const preparingFailed = (error: unknown): NoResult => {
  if (error instanceof ComfyUiError) return retry('comfyui-died', error.message)
  if (!(error instanceof InputUnavailable)) throw error
  const last = problem('input-unavailable', error.message)
  return error.isPassing
    ? retry('node', error.message, { last, errorSource: 'ours' })
    : { kind: 'failed', problem: last }
}

/** What a verdict without a result means for the task: whose fault it is and whether another try may help (dispatch.md, budgets). */
export const outcomeOf = (verdict: Ended): NoResult => {
  switch (verdict.kind) {
    case 'rejected':
      return rejected(verdict)
    case 'execution-error':
      return executionError(verdict)
    case 'interrupted':
      return retry('node', 'somebody interrupted ComfyUI')
    case 'lost':
      return retry(
        verdict.reason === 'vanished' || verdict.reason === 'not-accepted' ? 'node' : 'comfyui-died',
        verdict.detail
      )
    case 'stuck':
      return retry('comfyui-died', verdict.detail)
    case 'timed-out':
      return { kind: 'failed', problem: problem('timed-out', 'the attempt took longer than timeoutSeconds') }
    case 'abandoned':
      return { kind: 'abandoned' }
  }
}

type Rejected = Extract<Ended, { kind: 'rejected' }>

const rejected = ({ placement, error, nodeErrors }: Rejected): NoResult => {
  const message = rejectionWords(error, nodeErrors)
  const refusal = problem('comfyui-rejected', message, { comfyui: { error, node_errors: nodeErrors } })
  return placement ? retry('placement', message, { last: refusal }) : { kind: 'failed', problem: refusal }
}

/** ComfyUI's first complaint about a graph node, which says more than its summary. */
const rejectionWords = (error: Rejected['error'], nodeErrors: Rejected['nodeErrors']): string => {
  const [id, entry] = Object.entries(nodeErrors)[0] ?? []
  const { class_type: classType, errors } = (entry ?? {}) as {
    class_type?: string
    errors?: { message?: string; details?: string }[]
  }
  const first = errors?.[0]
  if (first?.message)
    return `${classType} (graph node ${id}): ${[first.message, first.details].filter(Boolean).join(': ')}`
  return typeof error.message === 'string' ? error.message : 'ComfyUI gave no reason'
}

const executionError = (verdict: Extract<Ended, { kind: 'execution-error' }>): NoResult => {
  const { graphNode, classType, exceptionType, message, outOfMemory } = verdict
  const where = classType ? `${classType} (graph node ${graphNode})` : 'the workflow'
  const comfyui = { graphNode: graphNode ?? null, classType: classType ?? null, exceptionType, message }
  if (outOfMemory) {
    const last = problem('out-of-memory', `${where} needs more memory than the GPUs tried have`, { comfyui })
    return retry('out-of-memory', message, { last })
  }
  if (nodeFault.test(message)) return retry('node', message)
  return { kind: 'failed', problem: problem('comfyui-execution-error', `${where}: ${message}`, { comfyui }) }
}
