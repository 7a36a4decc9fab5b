import { every, type Loop } from './every.ts'
import type { Log } from './log.ts'
import type { LogdyStats } from './logdy-transport.ts'
import type { Metrics } from './metrics.ts'

export type ServiceMetricsDeps = {
  readonly version: string
  /** Rejects while Redis does not answer. */
  readonly ping: () => Promise<unknown>
  /** What the log's way to logdy says of itself; undefined while it says nothing. */
  readonly logdy: () => LogdyStats | undefined
  readonly log: Log
}

const pingMs = 1_000

/** Adds what every service shows of itself: its build, Redis as seen from here, and the way of the log. Redis is asked once a second. */
export const measureService = (metrics: Metrics, { version, ping, logdy, log }: ServiceMetricsDeps): Loop => {
  metrics
    .gauge({
      name: 'comfy_build_info',
      help: 'Always 1; the labels say what runs',
      labelNames: ['version', 'node_version']
    })
    .set({ version, node_version: process.version }, 1)
  measureLogSink(metrics, logdy)
  const up = metrics.gauge({ name: 'comfy_redis_up', help: '1 while Redis answers this process' })
  const roundTrip = metrics.histogram({
    name: 'comfy_redis_roundtrip_seconds',
    help: 'Time of a PING, once a second',
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2]
  })
  const ask = async (): Promise<void> => {
    const stop = roundTrip.startTimer()
    const answered = await ping().then(
      () => true,
      () => false
    )
    stop()
    up.set(answered ? 1 : 0)
  }
  return every({ name: 'redis round trip', intervalMs: pingMs, log, run: ask })
}

const labelNames = ['sink'] as const

/** Shows nothing where no logdy is configured. */
const measureLogSink = (metrics: Metrics, logdy: () => LogdyStats | undefined): void => {
  const labels = { sink: 'logdy' }
  metrics.gauge({
    name: 'comfy_log_sink_up',
    help: '1 while the log reaches its viewer',
    labelNames,
    collect() {
      const stats = logdy()
      if (stats) this.set(labels, stats.up ? 1 : 0)
    }
  })
  metrics.gauge({
    name: 'comfy_log_queue_bytes',
    help: 'Log lines that wait for their viewer',
    labelNames,
    collect() {
      const stats = logdy()
      if (stats) this.set(labels, stats.queueBytes)
    }
  })
  metrics.counter({
    name: 'comfy_log_dropped_lines_total',
    help: 'Log lines that did not reach their viewer; the record on stdout has them',
    labelNames,
    collect() {
      const stats = logdy()
      if (!stats) return
      this.reset()
      this.inc(labels, stats.droppedTotal)
    }
  })
}
