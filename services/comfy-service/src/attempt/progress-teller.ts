import type { Progress } from '@comfy-balancer/contract/task'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Hints } from '@comfy-balancer/task-store/hints'

/** Followers are told at most this often; the last state before a pause is always told. */
const gapMs = 200

/** Publishes an attempt's progress without flooding Redis. */
export const createProgressTeller = (task: string, hints: Hints, log: Log) => {
  let latest: Progress | undefined
  let timer: NodeJS.Timeout | undefined
  let toldAtMs = 0

  const publish = (): void => {
    timer = undefined
    if (!latest) return
    toldAtMs = performance.now()
    hints.progress(task, latest).catch(err => log.debug({ err }, 'progress not published'))
    latest = undefined
  }

  return {
    tell(progress: Progress): void {
      latest = progress
      if (timer) return
      timer = setTimeout(publish, Math.max(0, toldAtMs + gapMs - performance.now()))
      timer.unref()
    }
  }
}
