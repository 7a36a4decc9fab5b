import type { Verdict } from '@comfy-balancer/comfyui/verdict'
import { type Problem, problem } from '@comfy-balancer/contract/problem'
import type { RetryClass } from '@comfy-balancer/domain/retry'
import type { StoredOutput } from '@comfy-balancer/task-store/manifest'

/** How an attempt ended. `abandoned`: the ledger took it from us, or we hand it back ourselves. */
export type Outcome =
  | { readonly kind: 'succeeded'; readonly outputs: readonly StoredOutput[] }
  | { readonly kind: 'failed'; readonly problem: Problem }
  | { readonly kind: 'retry'; readonly class: RetryClass; readonly problem: Problem; readonly why: string }
  | { readonly kind: 'abandoned' }

type Ended = Exclude<Verdict, { kind: 'succeeded' }>

/** Words of errors that are about the machine and not the workflow: another node may run it. */
const nodeFault = /CUDA error|CUDA driver|cuDNN error|device-side assert|illegal memory access|No space left on device/i

const exhausted = (why: string): Problem =>
  problem('attempts-exhausted', `several nodes could not finish this task; last: ${why}`)

const retry = (retryClass: RetryClass, why: string, last: Problem = exhausted(why)): Outcome => ({
  kind: 'retry',
  class: retryClass,
  problem: last,
  why
})

/** What a verdict without a result means for the task: whose fault it is and whether another try may help (dispatch.md, budgets). */
export const outcomeOf = (verdict: Ended): Outcome => {
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

const rejected = ({ placement, error, nodeErrors }: Extract<Ended, { kind: 'rejected' }>): Outcome => {
  const message = typeof error.message === 'string' ? error.message : 'ComfyUI gave no reason'
  const refusal = problem('comfyui-rejected', message, { comfyui: { error, node_errors: nodeErrors } })
  return placement ? retry('placement', message, refusal) : { kind: 'failed', problem: refusal }
}

const executionError = (verdict: Extract<Ended, { kind: 'execution-error' }>): Outcome => {
  const { graphNode, classType, exceptionType, message, outOfMemory } = verdict
  const where = classType ? `${classType} (graph node ${graphNode})` : 'the workflow'
  const comfyui = { graphNode: graphNode ?? null, classType: classType ?? null, exceptionType, message }
  if (outOfMemory)
    return retry(
      'out-of-memory',
      message,
      problem('out-of-memory', `${where} needs more memory than the GPUs tried have`, { comfyui })
    )
  if (nodeFault.test(message)) return retry('node', message)
  return { kind: 'failed', problem: problem('comfyui-execution-error', `${where}: ${message}`, { comfyui }) }
}
