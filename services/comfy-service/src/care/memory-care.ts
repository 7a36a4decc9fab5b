/** When an idle ComfyUI is asked to free its memory, and when it is restarted because that did not help. Shares are from 0 to 1. */
export type MemoryRules = {
  readonly idleMs: number
  readonly freeAboveVram: number | undefined
  readonly restartAboveVram: number | undefined
  readonly restartAboveRam: number | undefined
}

/** Shares in use; undefined where the machine does not tell. */
export type MemoryInUse = { readonly vram: number | undefined; readonly ram: number | undefined }

export type MemoryCareDeps = {
  readonly inUse: () => MemoryInUse
  /** Whether a waiting task needs what is loaded. */
  readonly isResidentWanted: () => Promise<boolean>
  /** Has ComfyUI drop its models and caches. */
  readonly free: () => Promise<void>
}

/** Memory that was freed shows in the figures so much later. */
const settleMs = 15_000

const isAbove = (share: number | undefined, bound: number | undefined): boolean =>
  share !== undefined && bound !== undefined && share > bound

/**
 * Looks after the memory of a ComfyUI that has nothing to do: frees it once in an idle time, and only while nothing waits for what is loaded;
 * asks for a restart, also once, when too much stays in use. `nowMs` is a clock that never goes back.
 */
export const createMemoryCare = (rules: MemoryRules, { inUse, isResidentWanted, free }: MemoryCareDeps) => {
  let idleSinceMs: number | undefined
  let freedAtMs: number | undefined
  let hasAsked = false

  const mustShrink = ({ vram, ram }: MemoryInUse): boolean =>
    isAbove(vram, rules.restartAboveVram) || isAbove(ram, rules.restartAboveRam)

  return {
    /** True when ComfyUI has to be restarted. Throws what `free` throws. */
    async look(isIdle: boolean, nowMs: number): Promise<boolean> {
      if (!isIdle) {
        idleSinceMs = freedAtMs = undefined
        hasAsked = false
        return false
      }
      idleSinceMs ??= nowMs
      if (hasAsked || nowMs - idleSinceMs < rules.idleMs) return false
      const used = inUse()
      if (freedAtMs === undefined) {
        if (!mustShrink(used) && !isAbove(used.vram, rules.freeAboveVram)) return false
        if (await isResidentWanted()) return false
        await free()
        freedAtMs = nowMs
        return false
      }
      if (nowMs - freedAtMs < settleMs || !mustShrink(used)) return false
      hasAsked = true
      return true
    }
  }
}

export type MemoryCare = ReturnType<typeof createMemoryCare>
