import { createClient } from '@comfy-balancer/client/client'
import { createHints } from '@comfy-balancer/task-store/hints'
import { Redis } from 'ioredis'
import { openStreams } from '../event-streams.ts'
import { quantile } from '../quantile.ts'
import { cpuTimeMs } from './cpu-time.ts'

/** Where the balancer is, and how its ledger is reached. */
export type FanOutPlace = {
  readonly url: string
  readonly pid: number
  readonly redisUrl: string
  readonly prefix: string
  /** A task that waits, whatever for. */
  readonly task: string
}

/** What telling all readers of one task took: until the middle and the last of them had heard, in ms, and CPU of the balancer per reader and event. */
export type FanOut = {
  readonly readers: number
  readonly halfMs: readonly number[]
  readonly allMs: readonly number[]
  readonly cpuMs: number
}

const readers = 2_000
const everyMs = 500
const withinMs = 30_000

/** One task's progress is published so many times, as its node would, to 2,000 event streams on one balancer. */
export const measureFanOut = async (
  { url, pid, redisUrl, prefix, task }: FanOutPlace,
  events: number
): Promise<FanOut> => {
  await createClient({ baseUrl: url }).getTask(task)
  const [subscriber, publisher] = [new Redis(redisUrl), new Redis(redisUrl)]
  let heard = 0
  let onHeard: () => void = () => {}
  const close = await openStreams(
    url,
    Array.from({ length: readers }, () => task),
    text => {
      heard += text.split('event: task.progress').length - 1
      onHeard()
    }
  )
  try {
    const hints = await createHints(subscriber, publisher, prefix)
    const [halfMs, allMs]: [number[], number[]] = [[], []]
    const before = cpuTimeMs(pid)
    for (let event = 0; event < events; event++) {
      heard = 0
      const startedMs = performance.now()
      const all = new Promise<void>((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`only ${heard} of ${readers} readers heard`)), withinMs)
        let isHalf = false
        onHeard = () => {
          if (!isHalf && heard >= readers / 2) halfMs.push(performance.now() - startedMs)
          isHalf ||= heard >= readers / 2
          if (heard < readers) return
          clearTimeout(late)
          resolve()
        }
      })
      await hints.progress(task, { percent: event, graphNode: '5', classType: 'KSampler', value: event, max: events })
      await all
      allMs.push(performance.now() - startedMs)
      await new Promise(resolve => setTimeout(resolve, everyMs))
    }
    return { readers, halfMs, allMs, cpuMs: (cpuTimeMs(pid) - before) / events / readers }
  } finally {
    await close()
    subscriber.disconnect()
    publisher.disconnect()
  }
}

/** One line: until half of the readers and all of them have it, and what it costs. */
export const fanOutLine = ({ readers: count, halfMs, allMs, cpuMs }: FanOut): string => {
  const ms = (values: readonly number[]) =>
    `${quantile(values, 0.5).toFixed(0)} ms (p95 ${quantile(values, 0.95).toFixed(0)} ms)`
  return `One progress event to ${count.toLocaleString('en')} event streams of one balancer: half of them have it after ${ms(halfMs)}, all after ${ms(allMs)}; ${(cpuMs * 1_000).toFixed(0)} µs CPU of the balancer for each.`
}
