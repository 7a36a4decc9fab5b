const firstMs = 1_000
const maxMs = 60_000

/** How long to wait before ComfyUI is started again: 1 s after its first failure in a row, twice as long after each further one, 60 s at most. */
export const restartDelayMs = (failures: number): number => Math.min(maxMs, firstMs * 2 ** Math.max(0, failures - 1))
