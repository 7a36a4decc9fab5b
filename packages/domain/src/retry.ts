import type { ProblemCode } from '@comfy-balancer/contract/problem'

/**
 * Why an attempt ended without a result. `node`: the node failed it. `comfyui-died`: ComfyUI went away under it. `lost`: its lease ran
 * out. `placement`: this node lacks something others have. `out-of-memory`: the GPU was too small. `hand-back`: the node drains.
 */
export type RetryClass = 'node' | 'comfyui-died' | 'lost' | 'placement' | 'out-of-memory' | 'hand-back'

/** How often a class may send a task back, whether it waits before it is queued again, and what its failure is called afterwards. */
export type RetryRule = { readonly budget: number; readonly delayed: boolean; readonly exhausted: ProblemCode }

/** The separate budgets of dispatch.md; hand-backs count nowhere. */
export const retryRules: Readonly<Record<RetryClass, RetryRule>> = {
  node: { budget: 3, delayed: true, exhausted: 'attempts-exhausted' },
  'comfyui-died': { budget: 3, delayed: false, exhausted: 'attempts-exhausted' },
  lost: { budget: 10, delayed: false, exhausted: 'attempts-exhausted' },
  placement: { budget: 10, delayed: false, exhausted: 'comfyui-rejected' },
  'out-of-memory': { budget: 2, delayed: false, exhausted: 'out-of-memory' },
  'hand-back': { budget: Number.MAX_SAFE_INTEGER, delayed: false, exhausted: 'attempts-exhausted' }
}

/** What the next attempt must heed after a GPU ran out of memory. */
export type RoomierAttempt = { readonly again: true } | { readonly vramAboveBytes: number }

/**
 * The ladder after `times` earlier failures: ComfyUI was told to free its memory, so the same node tries once more; then only a node with
 * more VRAM will do, if there is one. Undefined when nothing is left to try.
 */
export const afterOutOfMemory = (
  times: number,
  vramBytes: number | undefined,
  others: readonly (number | undefined)[]
): RoomierAttempt | undefined => {
  if (times === 0) return { again: true }
  const isLarger = (bytes: number | undefined): boolean =>
    vramBytes !== undefined && bytes !== undefined && bytes > vramBytes
  return vramBytes !== undefined && others.some(isLarger) ? { vramAboveBytes: vramBytes } : undefined
}

/** Full jitter: anything from 0 to 2 s · 2^n, at most 60 s. `random` is in [0, 1). */
export const backoffMs = (failures: number, random: number): number =>
  Math.floor(random * Math.min(60_000, 2_000 * 2 ** failures))
