import { createDispatcher } from '@comfy-balancer/dispatch/dispatcher'
import { createNodeRegistry } from '@comfy-balancer/dispatch/node-registry'
import type { NodeRecord } from '@comfy-balancer/task-store/node-record'
import { Redis } from 'ioredis'
import { barChart } from './bar-chart.ts'
import { fillQueue, type LongQueue, type QueueSize } from './long-queue.ts'
import { redisCpuMs } from './redis-cpu.ts'
import { markdownTable } from './table.ts'

/** What one task costs at a size, from its dispatch to its end, and one heartbeat. CPU in ms. */
export type ScaleSample = Required<QueueSize> & {
  readonly bytesPerTask: number
  readonly dispatchRedis: number
  readonly dispatchNode: number
  readonly lifeRedis: number
  readonly beatRedis: number
}

const usual = { waiting: 10_000, nodes: 100, tenants: 10 }

/** One thing grows at a time. */
export const scaleSizes: readonly Required<QueueSize>[] = [
  ...[10, 100, 1_000].map(nodes => ({ ...usual, nodes })),
  ...[1_000, 10_000, 100_000].map(waiting => ({ ...usual, waiting })),
  ...[1, 30, 1_000].map(tenants => ({ ...usual, tenants }))
]

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, fatal: () => {} }

/**
 * At each size all nodes are busy, and so many times one task ends and another is dispatched in its place, by the real dispatcher and the
 * real scripts: the costliest case, since nothing is looked at together.
 */
export const measureScale = async (url: string, tasks: number): Promise<ScaleSample[]> => {
  const redis = new Redis(url)
  const samples: ScaleSample[] = []
  try {
    for (const [i, size] of scaleSizes.entries()) {
      const queue = await fillQueue(redis, `{scale-${process.pid}-${i}}:`, size)
      try {
        samples.push(await measureSize(redis, queue, size, tasks))
      } finally {
        await queue.close()
      }
    }
    return samples
  } finally {
    redis.disconnect()
  }
}

const measureSize = async (
  redis: Redis,
  { ledger, bytesPerTask }: LongQueue,
  size: Required<QueueSize>,
  tasks: number
): Promise<ScaleSample> => {
  const dispatch = createDispatcher({ ledger, registry: createNodeRegistry({ ledger }), log: quiet })
  const spend = { dispatchRedis: 0, dispatchNode: 0, lifeRedis: 0, beatRedis: 0 }
  const onRedis = async (name: 'dispatchRedis' | 'lifeRedis' | 'beatRedis', act: () => Promise<unknown>) => {
    const before = await redisCpuMs(redis)
    await act()
    spend[name] += (await redisCpuMs(redis)) - before
  }
  const busy = async () => (await ledger.nodes.list()).nodes.filter(({ slot }) => slot)
  while ((await busy()).length < size.nodes) if ((await dispatch()) === 0) throw new Error('nothing is dispatched')
  const nodes = await busy()
  for (let n = 0; n < tasks; n++) {
    const { id } = nodes[(n * 7) % nodes.length]!
    const node = (await ledger.nodes.find(id))!
    await onRedis('lifeRedis', () => runToEnd(ledger, node))
    const before = process.cpuUsage()
    await onRedis('dispatchRedis', dispatch)
    const { user, system } = process.cpuUsage(before)
    spend.dispatchNode += (user + system) / 1_000
    const next = (await ledger.nodes.find(id))!
    await onRedis('beatRedis', () => beat(ledger, next))
  }
  const each = Object.fromEntries(Object.entries(spend).map(([name, total]) => [name, total / tasks])) as typeof spend
  return { ...size, bytesPerTask, ...each }
}

const beat = (ledger: LongQueue['ledger'], { id, epoch, report, slot }: NodeRecord) =>
  ledger.nodes.heartbeat(id, epoch, report, 'ready', slot?.token)

/** What comfy-service does with a task, without ComfyUI. */
const runToEnd = async (ledger: LongQueue['ledger'], { slot }: NodeRecord): Promise<void> => {
  if (!slot) throw new Error('the slot is empty')
  await ledger.attempts.start(slot.task, slot.token)
  const spent = { gpuSeconds: 10, loadSeconds: 0, executionSeconds: 10, loaded: false }
  await ledger.attempts.complete(slot.task, slot.token, [], spent)
}

/** The table, and how each cost grows. */
export const scaleReport = (samples: readonly ScaleSample[]): string => {
  const ms = (value: number) => `${value.toFixed(2)} ms`
  const count = (value: number) => value.toLocaleString('en')
  const rows = samples.map(one => [
    `${count(one.nodes)} nodes, ${count(one.waiting)} waiting, ${count(one.tenants)} tenants`,
    ms(one.dispatchRedis),
    ms(one.dispatchNode),
    ms(one.lifeRedis),
    ms(one.beatRedis),
    `${Math.round(one.bytesPerTask)} B`
  ])
  const head = [
    '',
    "dispatch, Redis' CPU",
    "dispatch, Node's CPU",
    "start and end, Redis' CPU",
    "heartbeat, Redis' CPU",
    'memory a task'
  ]
  const growth = (from: ScaleSample, to: ScaleSample) =>
    `Redis' CPU for a task × ${(redisCpuOf(to) / redisCpuOf(from)).toFixed(2)}, Node's × ${(to.dispatchNode / from.dispatchNode).toFixed(2)}`
  const grown = [0, 3, 6].map(i => {
    const [from, to] = [samples[i]!, samples[i + 2]!]
    const what = (['nodes', 'waiting', 'tenants'] as const)[i / 3]!
    return `- ${what} ${count(from[what])} → ${count(to[what])}: ${growth(from, to)}`
  })
  return [markdownTable(head, rows), grown.join('\n'), projection(samples)].join('\n\n')
}

/** Redis' CPU for a task at each size, in ms. */
export const scaleChart = (samples: readonly ScaleSample[]): string => {
  const groups = (['nodes', 'waiting', 'tenants'] as const).map((what, i) => ({
    title: `${what[0]!.toUpperCase()}${what.slice(1)}`,
    bars: samples.slice(i * 3, i * 3 + 3).map(one => ({
      label: one[what].toLocaleString('en'),
      value: redisCpuOf(one),
      isOurs: true
    }))
  }))
  return barChart("Redis' CPU for a task from its dispatch to its end, in ms, as one thing grows", groups)
}

const redisCpuOf = ({ dispatchRedis, lifeRedis }: ScaleSample): number => dispatchRedis + lifeRedis

const taskSeconds = 20

/** What the costs that grow with the nodes come to, continued on a straight line. */
const projection = (samples: readonly ScaleSample[]): string => {
  const [, hundred, thousand] = samples as [ScaleSample, ScaleSample, ScaleSample]
  const perNode = (redisCpuOf(thousand) - redisCpuOf(hundred)) / (thousand.nodes - hundred.nodes)
  const lines = [1_000, 10_000].map(nodes => {
    const task = redisCpuOf(thousand) + perNode * (nodes - thousand.nodes)
    const share = (nodes / taskSeconds) * (task / 1_000)
    const beats = nodes * (thousand.beatRedis / 1_000)
    return `- ${nodes.toLocaleString('en')} nodes with tasks of ${taskSeconds} s: ${(nodes / taskSeconds).toFixed(0)} dispatches a second need ${share.toFixed(2)} of Redis' core if each is looked for alone, heartbeats each second ${beats.toFixed(2)}`
  })
  return lines.join('\n')
}
