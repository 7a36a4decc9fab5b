import type { Need } from '@comfy-balancer/contract/need'
import { afterOutOfMemory } from '@comfy-balancer/domain/retry'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { TaskAssignment } from '@comfy-balancer/task-store/nodes'
import type { ComfyUi } from '../comfyui.ts'
import type { Residency } from '../residency.ts'
import type { RetryOutcome } from './outcome.ts'
import type { Settlement } from './settlement.ts'
import { untilTaken } from './until-taken.ts'

export type RetryDeps = {
  readonly comfyui: ComfyUi
  readonly residency: Residency
  readonly log: Log
  /** The VRAM of this node's GPU, and of every known node that has what a need asks for. */
  readonly vramBytes: () => number | undefined
  readonly vramOfCapable: (need: Need) => Promise<readonly (number | undefined)[]>
}

export type Retry = ReturnType<typeof createRetry>

/** What an attempt that gave no result does for the next one. */
export const createRetry = ({ record, need }: TaskAssignment, settlement: Settlement, deps: RetryDeps) => {
  const { comfyui, residency, log, vramBytes, vramOfCapable } = deps

  const vramOfOthers = async (): Promise<readonly (number | undefined)[]> =>
    need ? untilTaken(() => vramOfCapable(need), log) : []

  return {
    /** Does to this node what may help. */
    async repairNode({ class: retryClass }: RetryOutcome): Promise<void> {
      if (retryClass === 'placement') comfyui.distrustCatalog()
      if (retryClass !== 'out-of-memory') return
      residency.clear()
      await comfyui.http.free().catch(err => log.warn({ err }, 'memory not freed'))
    },

    /** The task goes back to its queue. One that ran out of memory needs a node with more; it fails where there is none. */
    async sendBack(outcome: RetryOutcome, gpuSeconds: number): Promise<void> {
      if (outcome.class !== 'out-of-memory') return settlement.sendBack(outcome)
      const next = afterOutOfMemory(record.outOfMemory, vramBytes(), await vramOfOthers())
      if (next) return settlement.sendBack(outcome, next)
      return settlement.fail({ kind: 'failed', problem: outcome.problem }, gpuSeconds)
    }
  }
}
