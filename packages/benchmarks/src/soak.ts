import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { Fleet } from '@comfy-balancer/local/fleet'
import type { Process } from '@comfy-balancer/local/processes'
import { Redis } from 'ioredis'
import { quantile } from './quantile.ts'
import { applyLoad, type Load, type Receiver } from './soak-load.ts'
import { markdownTable } from './table.ts'

/** One figure of one program at moments in minutes since the measuring began. */
export type Series = {
  readonly program: string
  readonly what: string
  readonly unit: 'MiB' | 'ms'
  readonly samples: { readonly minute: number; readonly value: number }[]
}

/** The series of every program, and what the callers saw meanwhile. */
export type Soak = { readonly series: readonly Series[]; readonly load: Load }

const everyMs = 3_000
const mebibyte = 2 ** 20
/** What is allowed to a program that keeps nothing: garbage that is not collected yet, and a machine that does other things too. */
const slack = { MiB: 16, ms: 25 } as const
const slackShare = 0.1

const figures = [
  { metric: 'process_resident_memory_bytes', what: 'RSS', unit: 'MiB', scale: 1 / mebibyte },
  { metric: 'nodejs_heap_size_used_bytes', what: 'heap in use', unit: 'MiB', scale: 1 / mebibyte },
  { metric: 'nodejs_eventloop_lag_p50_seconds', what: 'event loop p50', unit: 'ms', scale: 1_000 },
  { metric: 'nodejs_eventloop_lag_p99_seconds', what: 'event loop p99', unit: 'ms', scale: 1_000 }
] as const

/** Loads the fleet for `minutes` after `warmUpMs` that are not counted, and samples every service and Redis each 3 s. */
export const measureSoak = async (
  fleet: Fleet,
  redisUrl: string,
  receiver: Receiver,
  { minutes, warmUpMs }: { readonly minutes: number; readonly warmUpMs: number }
): Promise<Soak> => {
  const redis = new Redis(redisUrl)
  const programs = [...fleet.balancers, ...fleet.nodes.map(({ service }) => service)]
  const probes = [...programs.map(probeOf), probeOfRedis(redis)]
  const end = new AbortController()
  const loading = applyLoad(fleet, receiver, end.signal)
  try {
    const sampling = sample(probes, minutes, warmUpMs, end)
    const [load] = await Promise.all([loading, sampling])
    return { series: probes.flatMap(({ series }) => series), load }
  } finally {
    end.abort()
    redis.disconnect()
  }
}

/** `read` answers a value for each of the series. */
type Probe = { readonly series: readonly Series[]; readonly read: () => Promise<readonly number[]> }

const sample = async (
  probes: readonly Probe[],
  minutes: number,
  warmUpMs: number,
  end: AbortController
): Promise<void> => {
  await pause(warmUpMs, undefined, { signal: end.signal })
  await Promise.all(probes.map(({ read }) => read()))
  const startedMs = performance.now()
  for (let minute = 0; minute < minutes; ) {
    await pause(everyMs, undefined, { signal: end.signal })
    minute = (performance.now() - startedMs) / 60_000
    await Promise.all(
      probes.map(async ({ series, read }) => {
        const values = await read()
        for (const [i, { samples }] of series.entries()) samples.push({ minute, value: values[i]! })
      })
    )
  }
  end.abort()
}

const probeOf = (program: Process): Probe => {
  const port = /"metricsPort":(\d+).*"msg":"listening"/.exec(readFileSync(program.logFile, 'utf8'))?.[1]
  if (port === undefined) throw new Error(`${program.name} does not say where its metrics are`)
  return {
    series: figures.map(({ what, unit }) => ({ program: program.name, what, unit, samples: [] })),
    read: async () => {
      const signal = AbortSignal.timeout(10_000)
      const text = await (await fetch(`http://127.0.0.1:${port}/metrics`, { signal })).text()
      return figures.map(({ metric, scale }) => scale * valueIn(text, metric))
    }
  }
}

const valueIn = (text: string, metric: string): number => {
  const value = new RegExp(`^${metric}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text)?.[1]
  if (value === undefined) throw new Error(`there is no ${metric} in the metrics`)
  return Number(value)
}

const probeOfRedis = (redis: Redis): Probe => ({
  series: [{ program: 'redis', what: 'used memory', unit: 'MiB', samples: [] }],
  read: async () => [Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]) / mebibyte]
})

const thirds = ({ samples }: Series): { readonly first: number; readonly last: number } => {
  const values = samples.map(({ value }) => value)
  const third = Math.ceil(values.length / 3)
  return { first: quantile(values.slice(0, third), 0.5), last: quantile(values.slice(-third), 0.5) }
}

/** The median of the slopes between any two samples, in units a minute: one odd sample says nothing. */
const slope = ({ samples }: Series): number => {
  const slopes = samples.flatMap((from, i) =>
    samples.slice(i + 1).map(to => (to.value - from.value) / (to.minute - from.minute))
  )
  return slopes.length === 0 ? 0 : quantile(slopes, 0.5)
}

/** What rose: its last third lies above its first by more than a tenth and that slack. */
export const growing = ({ series }: Soak): readonly Series[] =>
  series.filter(one => {
    const { first, last } = thirds(one)
    return last > first * (1 + slackShare) + slack[one.unit]
  })

/** The medians of the first and the last third of the time, and how steeply all samples rise. */
export const soakTable = (soak: Soak): string => {
  const rows = soak.series.map(one => {
    const { first, last } = thirds(one)
    const show = (value: number) => `${value.toFixed(1)} ${one.unit}`
    return [`${one.program}: ${one.what}`, show(first), show(last), `${slope(one).toFixed(2)} ${one.unit}/min`]
  })
  return markdownTable(['median of', 'first third', 'last third', 'slope'], rows)
}
