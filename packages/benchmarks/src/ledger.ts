import { Redis } from 'ioredis'
import { fillQueue, type LongQueue } from './long-queue.ts'
import { quantile } from './quantile.ts'
import { redisCpuMs } from './redis-cpu.ts'
import { markdownTable } from './table.ts'

/** What looking and claiming took with so many tasks waiting. Redis CPU is a mean of one call, by round. */
export type LedgerSample = {
  readonly waiting: number
  readonly bytesPerTask: number
  readonly candidates: number
  readonly looksMs: number[]
  readonly claimsMs: number[]
  readonly lookCpuMs: number[]
  readonly claimCpuMs: number[]
}

/** A round is so many looks and then so many claims, at each length of the queue. */
export const claimsPerRound = 10
const warmUps = 3

/** Fills a queue of each length beside each other in one Redis, and looks and claims there in turn. */
export const measureLedger = async (
  url: string,
  lengths: readonly number[],
  rounds: number
): Promise<LedgerSample[]> => {
  const redis = new Redis(url)
  const queues: LongQueue[] = []
  try {
    for (const length of lengths)
      queues.push(
        await fillQueue(redis, `{bench-${process.pid}-${length}}:`, { waiting: length, nodes: claimsPerRound })
      )
    const samples = queues.map(emptySample)
    for (let round = 0; round < rounds + warmUps; round++)
      for (const [i, queue] of queues.entries())
        await measureRound(redis, queue, round < warmUps ? emptySample(queue) : samples[i]!)
    return await Promise.all(samples.map(async (sample, i) => ({ ...sample, candidates: await seen(queues[i]!) })))
  } finally {
    for (const queue of queues) await queue.close()
    redis.disconnect()
  }
}

const emptySample = ({ waiting, bytesPerTask }: LongQueue): LedgerSample => ({
  ...{ waiting, bytesPerTask, candidates: 0 },
  ...{ looksMs: [], claimsMs: [], lookCpuMs: [], claimCpuMs: [] }
})

const seen = async (queue: LongQueue): Promise<number> => (await queue.look()).candidates.length

const measureRound = async (redis: Redis, queue: LongQueue, sample: LedgerSample): Promise<void> => {
  let tasks: string[] = []
  const look = async () => {
    tasks = (await queue.look()).candidates.map(({ id }) => id)
  }
  sample.lookCpuMs.push(await timed(redis, sample.looksMs, look))
  const stride = Math.floor(tasks.length / claimsPerRound)
  sample.claimCpuMs.push(await timed(redis, sample.claimsMs, n => queue.claim(n, tasks[n * stride]!)))
  await queue.refill()
}

/** Does it some times one after another; answers what one took of Redis' own CPU time. */
const timed = async (redis: Redis, durationsMs: number[], act: (n: number) => Promise<void>): Promise<number> => {
  const cpuBeforeMs = await redisCpuMs(redis)
  for (let n = 0; n < claimsPerRound; n++) {
    const startedMs = performance.now()
    await act(n)
    durationsMs.push(performance.now() - startedMs)
  }
  return ((await redisCpuMs(redis)) - cpuBeforeMs) / claimsPerRound
}

/** The table, and how the longest queue compares with the shortest. */
export const ledgerReport = (samples: readonly LedgerSample[]): string => {
  const ms = (value: number) => `${value.toFixed(2)} ms`
  const both = (durations: readonly number[]) => [0.5, 0.99].map(share => ms(quantile(durations, share))).join(' / ')
  const cpu = (sample: LedgerSample) => quantile(sample.lookCpuMs, 0.5) + quantile(sample.claimCpuMs, 0.5)
  const wall = (sample: LedgerSample) => quantile(sample.looksMs, 0.5) + quantile(sample.claimsMs, 0.5)
  const rows = samples.map(sample => [
    sample.waiting.toLocaleString('en'),
    `${Math.round(sample.bytesPerTask)} B`,
    String(sample.candidates),
    both(sample.looksMs),
    both(sample.claimsMs),
    ms(quantile(sample.lookCpuMs, 0.5)),
    ms(quantile(sample.claimCpuMs, 0.5))
  ])
  const head = [
    'waiting',
    'per task beyond its body',
    'candidates',
    'look p50 / p99',
    'claim p50 / p99',
    'look, Redis CPU',
    'claim, Redis CPU'
  ]
  const [first, last] = [samples[0]!, samples.at(-1)!]
  const growth = (of: (sample: LedgerSample) => number) => (of(last) / of(first)).toFixed(2)
  return `${markdownTable(head, rows)}\n\nA look and a claim grow by ${growth(cpu)} in Redis CPU and by ${growth(wall)} in time from the shortest queue to the longest.`
}
