import type { Problem } from '@comfy-balancer/contract/problem'
import type { RetryClass } from '@comfy-balancer/domain/retry'
import { retryRules } from '@comfy-balancer/domain/retry'
import type { StoredOutput } from './manifest.ts'
import type { StoreDeps } from './store-deps.ts'

/** Whether a write about an attempt was taken: not when another attempt has the task (`stale`) or it has ended (`terminal`). */
export type Fenced = 'ok' | 'stale' | 'terminal'

export type ClaimAnswer = 'claimed' | 'stale-node' | 'not-ready' | 'occupied' | 'not-queued' | 'at-cap'

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

/** Why a task goes back, what it fails with when that was once too often, and what the next attempt must heed. */
export type Retry = {
  readonly class: RetryClass
  readonly exhausted: Problem
  readonly backoffMs: number
  readonly again?: boolean
  readonly vramAboveBytes?: number | undefined
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
    const [kind] = (await run(
      'fail',
      task,
      token,
      'final',
      JSON.stringify(problem),
      gpuSeconds,
      0,
      0,
      0,
      log,
      0,
      ''
    )) as ['failed']
    return kind
  },

  /**
   * Sends the task back, or fails it with `exhausted` when the budget of this class is used up. With `again` it stays on this node, with
   * `vramAboveBytes` only nodes with more VRAM will do. Tells for how long the node is quarantined now, 0 mostly.
   */
  async retry(
    task: string,
    token: string,
    retry: Retry,
    log = ''
  ): Promise<{ kind: 'retried' | 'failed' | 'stale' | 'terminal'; quarantinedMs: number }> {
    const rule = retryRules[retry.class]
    const avoid = retry.class === 'hand-back' || retry.again ? 0 : 1
    const [kind, quarantinedMs] = (await run(
      'fail',
      task,
      token,
      retry.class,
      JSON.stringify(retry.exhausted),
      0,
      rule.budget,
      rule.delayed ? retry.backoffMs : 0,
      avoid,
      log,
      retry.again ? 1 : 0,
      retry.vramAboveBytes ?? ''
    )) as ['retried', number | undefined]
    return { kind, quarantinedMs: quarantinedMs ?? 0 }
  },

  /** Empties a slot that this token still holds. */
  async release(node: string, token: string): Promise<'released' | 'not-held'> {
    return (await run('release', node, token)) as 'released' | 'not-held'
  }
})
