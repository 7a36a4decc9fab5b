import type { Log } from '@comfy-balancer/service-kit/log'
import type { Sweep } from '@comfy-balancer/task-store/recovery'

/** Says what a sweep ended, and nothing when it ended nothing. */
export const logSweep = (sweep: Sweep, log: Log): void => {
  const { recovered, expired, timedOut, requeued, heldBack } = sweep
  if (heldBack) log.warn({ reason: 'we may have been blind' }, 'recoveries wait one more lease')
  if (recovered > 0) log.warn({ recovered }, 'tasks of silent nodes went back to their queues')
  if (expired + timedOut > 0) log.info({ expired, timedOut }, 'tasks ran out of time')
  if (requeued > 0) log.info({ requeued }, 'back-offs are over')
}
