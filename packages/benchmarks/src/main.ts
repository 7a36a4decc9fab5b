import { mkdirSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Fleet, type FleetOptions, startFleet } from '@comfy-balancer/local/fleet'
import { provideRedisOrExit } from '@comfy-balancer/local/redis'
import { fairnessTable, gpus, measureFairness } from './fairness.ts'
import { followersTable, measureFollowers } from './followers.ts'
import { claimsPerRound, ledgerReport, measureLedger } from './ledger.ts'
import { measureOverhead, overheadTable } from './overhead.ts'

const results = fileURLToPath(new URL('../../results/', import.meta.url))

const say = (text: string): void => void process.stdout.write(`${text}\n`)

const prefix = `{bench-${process.pid}}:`

type Result = { readonly file: string; readonly text: string }
const keep = ({ file, text }: Result): void => {
  say(text)
  mkdirSync(results, { recursive: true })
  writeFileSync(join(results, file), `${text}\n`)
}

type FleetMore = Omit<FleetOptions, 'redisUrl' | 'folder'>

/** Measures on a fleet of its own, which goes afterwards; prints the result and keeps it. */
const onFleet = async (
  more: FleetMore,
  measure: (fleet: Fleet, redisUrl: string) => Promise<Result>
): Promise<void> => {
  const redis = await provideRedisOrExit()
  const folder = await mkdtemp(join(tmpdir(), 'comfy-balancer-bench-'))
  const env = { REDIS_KEY_PREFIX: prefix, ...more.env }
  const fleet = await startFleet({ ...more, redisUrl: redis.url, folder, env })
  try {
    keep(await measure(fleet, redis.url))
  } finally {
    await fleet.stop()
    await redis.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

/** `npm run bench -- overhead [rounds]`; COMFYUI_URLS measures against a real ComfyUI instead of the simulator. */
const overhead = async (rounds: number): Promise<void> => {
  const real = process.env.COMFYUI_URLS?.split(',').slice(0, 1)
  const backend = real ? { comfyUiUrls: real } : { simulators: [{ speed: 1 }], timeScale: 0.01 }
  await onFleet({ ...backend, env: { AUTH_MODE: 'none' } }, async fleet => {
    const table = overheadTable(await measureOverhead(fleet, rounds))
    const title = `Sequential trivial tasks, ${rounds} of each in turn, one ${real ? 'real' : 'simulated'} ComfyUI, Node ${process.version}`
    return { file: real ? 'overhead-real.md' : 'overhead.md', text: `${title}\n\n${table}` }
  })
}

/** `npm run bench -- followers [rounds]`: what 2,000 idle event streams on one balancer cost a task. */
const followers = async (rounds: number): Promise<void> => {
  const simulators = [{ speed: 1 }, { speed: 1 }]
  await onFleet({ simulators, timeScale: 0.01, env: { AUTH_MODE: 'none' } }, async fleet => {
    const table = followersTable(await measureFollowers(fleet, rounds))
    const title = `Sequential trivial tasks through one balancer, ${rounds} of each in turn, with and without 2,000 idle event streams on it, Node ${process.version}`
    return { file: 'followers.md', text: `${title}\n\n${table}` }
  })
}

const queuedTasks = 1_000

/** `npm run bench -- fairness [light tasks]`: how long a tenant waits beside another that has 1,000 tasks queued. */
const fairness = async (light: number): Promise<void> =>
  onFleet({ ...gpus, env: { AUTH_MODE: 'keys' } }, async (fleet, redisUrl) => {
    const place = { url: fleet.balancerUrls[0]!, redisUrl, prefix }
    const found = await measureFairness(place, queuedTasks, light)
    const title = [
      `${light} tasks of one tenant, one after another, beside ${queuedTasks} queued by another (${found.stillQueued} still queued at the end)`,
      `${gpus.simulators.length} simulated GPUs, a task takes ${found.taskSeconds.toFixed(2)} s, Node ${process.version}`
    ].join('; ')
    return { file: 'fairness.md', text: `${title}\n\n${fairnessTable(found)}` }
  })

/** `npm run bench -- ledger [rounds]`: what a waiting task costs Redis, and whether claiming stays as quick when many wait. */
const ledger = async (rounds: number): Promise<void> => {
  const redis = await provideRedisOrExit()
  try {
    const report = ledgerReport(await measureLedger(redis.url, [1_000, 10_000, 100_000], rounds))
    const title = `Looks and claims at three lengths of the queue in turn, ${rounds} rounds of ${claimsPerRound}, Redis ${redis.version}, Node ${process.version}`
    keep({ file: 'ledger.md', text: `${title}\n\n${report}` })
  } finally {
    await redis.stop()
  }
}

const suites: Readonly<Record<string, (argument: number) => Promise<void>>> = { overhead, fairness, followers, ledger }

const defaults: Readonly<Record<string, string>> = { overhead: '200', fairness: '40', followers: '200', ledger: '60' }
const [name = '', argument = defaults[name] ?? ''] = process.argv.slice(2)
const suite = suites[name]
if (suite && /^[1-9]\d{0,4}$/.test(argument)) await suite(Number(argument))
else {
  say(`use: npm run bench -- ${Object.keys(suites).join(' | ')} [rounds]`)
  process.exitCode = 1
}
