import type { Problem } from '@comfy-balancer/contract/problem'
import type { RetryClass } from '@comfy-balancer/domain/retry'
import { retryRules } from '@comfy-balancer/domain/retry'
import type { StoredOutput } from './manifest.ts'
import type { StoreDeps } from './store-deps.ts'

/** Whether a write about an attempt was taken: not when another attempt has the task (`stale`) or it has ended (`terminal`). */
export type Fenced = 'ok' | 'stale' | 'terminal'

export type ClaimAnswer = 'claimed' | 'stale-node' | 'not-ready' | 'occupied' | 'not-queued'

export type Claim = {
  readonly node: string
  readonly epoch: string
  readonly task: string
  readonly nonce: string
  readonly predictedSeconds: number
  readonly why: object
  readonly overtakes: readonly string[]
}

/** Where an attempt's time went. `loadSeconds` counts only when models had to be loaded. */
export type Spent = {
  readonly gpuSeconds: number
  readonly loadSeconds: number
  readonly executionSeconds: number
  readonly loaded: boolean
}

export type Attempts = ReturnType<typeof createAttempts>

/** The writes about one attempt; each carries its token, and the script refuses any other. */
export const createAttempts = ({ run }: StoreDeps) => ({
  async claim(claim: Claim): Promise<ClaimAnswer> {
    const { node, epoch, task, nonce, predictedSeconds, why, overtakes } = claim
    return (await run(
      'claim',
      node,
      epoch,
      task,
      nonce,
      predictedSeconds.toFixed(3),
      JSON.stringify(why),
      ...overtakes
    )) as ClaimAnswer
  },

  async start(task: string, token: string): Promise<Fenced> {
    return (await run('start', task, token)) as Fenced
  },

  /** Makes the outputs stored so far visible. */
  async output(task: string, token: string, outputs: readonly StoredOutput[]): Promise<Fenced> {
    return (await run('output', task, token, JSON.stringify(outputs), outputs.length)) as Fenced
  },

  /** `log` is what ComfyUI wrote during the attempt, here and in the two below. */
  async complete(
    task: string,
    token: string,
    outputs: readonly StoredOutput[],
    spent: Spent,
    log = ''
  ): Promise<Fenced> {
    const { gpuSeconds, loadSeconds, executionSeconds, loaded } = spent
    return (await run(
      'complete',
      task,
      token,
      JSON.stringify(outputs),
      outputs.length,
      gpuSeconds,
      loadSeconds,
      executionSeconds,
      loaded ? 1 : 0,
      log
    )) as Fenced
  },

  /** Fails the task for good. `gpuSeconds` is what the tenant is charged. */
  async fail(
    task: string,
    token: string,
    problem: Problem,
    gpuSeconds: number,
    log = ''
  ): Promise<'failed' | 'stale' | 'terminal'> {
    return (await run('fail', task, token, 'final', JSON.stringify(problem), gpuSeconds, 0, 0, 0, log)) as 'failed'
  },

  /** Sends the task back, or fails it with `exhausted` when the budget of this class is used up. */
  async retry(
    task: string,
    token: string,
    retry: { class: RetryClass; exhausted: Problem; backoffMs: number },
    log = ''
  ): Promise<'retried' | 'failed' | 'stale' | 'terminal'> {
    const rule = retryRules[retry.class]
    const avoid = retry.class === 'hand-back' ? 0 : 1
    const delay = rule.delayed ? retry.backoffMs : 0
    const text = JSON.stringify(retry.exhausted)
    return (await run('fail', task, token, retry.class, text, 0, rule.budget, delay, avoid, log)) as 'retried'
  },

  /** Empties a slot that this token still holds. */
  async release(node: string, token: string): Promise<'released' | 'not-held'> {
    return (await run('release', node, token)) as 'released' | 'not-held'
  }
})
