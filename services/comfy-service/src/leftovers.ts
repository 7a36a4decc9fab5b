import { cancelPrompt } from '@comfy-balancer/comfyui/cancel'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { ComfyUi } from './comfyui.ts'

/** ComfyUI has so long to let go of one, each time. */
const clearMs = 10_000

export type Leftovers = ReturnType<typeof createLeftovers>

/** Prompts of this node in ComfyUI that nobody waits for: while there are any, the node counts as occupied. */
export const createLeftovers = ({ comfyui, log }: { readonly comfyui: ComfyUi; readonly log: Log }) => {
  const promptIds = new Set<string>()
  return {
    count: (): number => promptIds.size,
    add: (promptId: string): void => void promptIds.add(promptId),

    /** ComfyUI was restarted: it has none of them any more. */
    clear: (): void => promptIds.clear(),

    /** Adds what this node has in ComfyUI's queue, apart from the prompts that are waited for. */
    async find(waitedFor: readonly (string | undefined)[]): Promise<void> {
      for (const promptId of await comfyui.ownPrompts()) if (!waitedFor.includes(promptId)) promptIds.add(promptId)
    },

    /** Stops them one by one, and calls `gone` for each that ComfyUI let go of. */
    async chase(gone: () => void): Promise<void> {
      for (const promptId of promptIds) {
        const outcome = await cancelPrompt({ http: comfyui.http }, promptId, { deadlineMs: clearMs })
        log.info({ promptId, outcome }, 'prompt that nobody waits for stopped')
        if (outcome === 'stuck') continue
        promptIds.delete(promptId)
        gone()
      }
    }
  }
}
