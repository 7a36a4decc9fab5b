import type { PromptEvent } from '@comfy-balancer/comfyui/relay'
import type { Progress } from '@comfy-balancer/contract/task'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Hints } from '@comfy-balancer/task-store/hints'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { Residency } from '../residency.ts'
import type { Collector } from './collector.ts'
import type { LogTail } from './log-tail.ts'
import { createPreviewTeller } from './preview-teller.ts'
import type { Stopwatch } from './stopwatch.ts'
import { createTeller } from './teller.ts'

/** The attempt whose prompt is heard, and the models that it uses. */
export type Heard = {
  readonly task: string
  readonly token: string
  readonly promptId: string
  readonly models: readonly string[]
}

export type ListenerDeps = {
  readonly ledger: Ledger
  readonly hints: Hints
  readonly residency: Residency
  readonly stopwatch: Stopwatch
  readonly collector: Collector
  readonly logTail: LogTail
  readonly log: Log
}

/** Followers are told so soon of progress; what follows within it is told with it. */
const progressGapMs = 100

export type Listener = ReturnType<typeof createListener>

/** Hears what ComfyUI tells of a prompt, and sees to it that each thing gets where it is wanted. */
export const createListener = ({ task, token, promptId, models }: Heard, deps: ListenerDeps) => {
  const { ledger, hints, residency, stopwatch, collector, logTail, log } = deps
  const followers = createTeller<Progress>(progressGapMs, latest => hints.progress(task, latest), log)
  const previews = createPreviewTeller(task, hints, log)
  let progress: Progress | null = null

  const started = (): void => {
    residency.ran(models)
    progress ??= { percent: 0, graphNode: null, classType: null, value: null, max: null }
    log.info({ promptId }, 'task started')
    ledger.attempts.start(task, token).catch(err => log.warn({ err }, 'start not recorded'))
  }

  return {
    /** How far the prompt is; null before it runs. */
    progress: (): Progress | null => progress,

    hear(event: PromptEvent): void {
      stopwatch.see(event)
      if (event.type === 'log') logTail.add(event.text)
      if (event.type === 'started') started()
      if (event.type === 'preview') previews.say(event)
      if (event.type === 'executed') collector.executed(event.graphNode, event.output)
      if (event.type !== 'progress') return
      const { percent, graphNode, classType, value, max } = event
      progress = { percent, graphNode: graphNode ?? null, classType: classType ?? null, value, max }
      followers.say(progress)
    }
  }
}
