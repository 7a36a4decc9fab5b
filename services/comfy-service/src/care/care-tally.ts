import type { Metrics } from '@comfy-balancer/service-kit/metrics'

/** Why a ComfyUI was stopped, or found ended, to be started again. */
export const restartReasons = [
  'died',
  'dead-worker',
  'stuck',
  'unresponsive',
  'warm-up',
  'memory',
  'request',
  'start'
] as const
export type RestartReason = (typeof restartReasons)[number]

/** Told how this node's ComfyUI fares. */
export type CareTally = {
  readonly restarted: (reason: RestartReason) => void
  readonly freed: () => void
}

/** Shows it as metrics; they may be summed over nodes. */
export const createCareTally = (metrics: Metrics): CareTally => {
  const restarts = metrics.counter({
    name: 'comfy_comfyui_restarts_total',
    help: 'Restarts of ComfyUI by comfy-service, by reason',
    labelNames: ['reason']
  })
  const frees = metrics.counter({
    name: 'comfy_comfyui_frees_total',
    help: 'Times that an idle ComfyUI was asked to free its memory'
  })
  frees.inc(0)
  for (const reason of restartReasons) restarts.inc({ reason }, 0)
  return {
    restarted: reason => restarts.inc({ reason }),
    freed: () => frees.inc()
  }
}
