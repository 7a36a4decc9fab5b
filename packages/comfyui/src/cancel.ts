import { setTimeout as pause } from 'node:timers/promises'
import { ComfyUiError } from './errors.ts'
import type { ComfyUiHttp } from './http.ts'
import { verdictOf } from './verdict.ts'

/** `gone`: interrupted or deleted; `finished`: it had run to its end before; `stuck`: ComfyUI still has it, or does not answer. */
export type CancelOutcome = 'gone' | 'finished' | 'stuck'

type Round = 'gone' | 'finished' | 'absent' | 'present' | 'refused' | 'unclear'

const firstPauseMs = 250
const maxPauseMs = 2000
const surePauseMs = 500

/** An interrupt is sent only while the queue says that this prompt is the one running: old versions interrupt whatever runs. */
const interrupt = async (http: ComfyUiHttp, promptId: string): Promise<void> => {
  const job = await http.cancelJob(promptId)
  if (!job.supported) await http.interrupt(promptId)
}

const round = async (http: ComfyUiHttp, promptId: string): Promise<Round> => {
  try {
    const before = await http.history(promptId)
    if (before) return verdictOf(before).kind === 'interrupted' ? 'gone' : 'finished'
    const { running, pending } = await http.queue()
    const isOurs = (item: { promptId: string }) => item.promptId === promptId
    if (pending.some(isOurs)) await http.deletePending(promptId)
    else if (running.some(isOurs)) await interrupt(http, promptId)
    else return 'absent'
    return 'present'
  } catch (error) {
    if (!(error instanceof ComfyUiError)) throw error
    return error.refused ? 'refused' : 'unclear'
  }
}

/**
 * Takes one prompt out of ComfyUI, whether it waits or runs, and waits until it is gone. Interrupts get lost and take effect only
 * between graph nodes, so it looks, acts and looks again until `deadlineMs` from now have passed. No other prompt is touched; it may be repeated.
 */
export const cancelPrompt = async (
  { http }: { readonly http: ComfyUiHttp },
  promptId: string,
  { deadlineMs }: { readonly deadlineMs: number }
): Promise<CancelOutcome> => {
  const endMs = performance.now() + deadlineMs
  let pauseMs = firstPauseMs
  let last: Round = 'unclear'
  while (true) {
    const now = await round(http, promptId)
    if (now === 'gone' || now === 'finished') return now
    const isEmptyHanded = now === 'absent' || now === 'refused'
    if (isEmptyHanded && now === last) return 'gone'
    last = now
    const waitMs = isEmptyHanded ? surePauseMs : pauseMs
    if (performance.now() + waitMs > endMs) return 'stuck'
    await pause(waitMs)
    pauseMs = Math.min(maxPauseMs, pauseMs * 2)
  }
}
