import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Fleet, type FleetOptions, startFleet } from '@comfy-balancer/local/fleet'
import { makeOwnFolder } from '@comfy-balancer/local/own-folder'
import { provideRedisOrExit } from '@comfy-balancer/local/redis'
import { apiSpeedTable, measureApiSpeed } from './api/api-speed.ts'
import { fanOutLine } from './api/fan-out.ts'
import { balancerDeathTable, hasLoss, measureBalancerDeath } from './balancer-death.ts'
import { watchLag } from './chaos/lag.ts'
import { type Rig, startRig } from './chaos/rig/rig.ts'
import { failoverTable, measureFailover } from './failover.ts'
import { fairnessTable, gpus, measureFairness } from './fairness.ts'
import { followersTable, measureFollowers } from './followers.ts'
import { claimsPerRound, ledgerReport, measureLedger } from './ledger.ts'
import { measureOverhead, overheadTable } from './overhead.ts'
import { idleGapTable, measureIdleGaps, waitingTasks } from './real/idle-gap.ts'
import { measureRace, raceChart, raceTable, speeds, trace } from './real/race.ts'
import { hasLost, keptTable, measureFull, measureRestarts } from './redis-restart.ts'
import { isBroken, measureRollingRestart, rollingRestartTable } from './rolling-restart.ts'
import { measureScale, scaleReport } from './scale.ts'
import { compare, reportChart, reportText } from './scheduling/report.ts'
import { growing, measureSoak, soakTable } from './soak.ts'
import { startReceiver } from './soak-load.ts'

const results = fileURLToPath(new URL('../../results/', import.meta.url))

const say = (text: string): void => void process.stdout.write(`${text}\n`)

const prefix = `{bench-${process.pid}}:`

type Result = { readonly file: string; readonly text: string }
const keep = ({ file, text }: Result): void => {
  say(text)
  mkdirSync(results, { recursive: true })
  writeFileSync(join(results, file), `${text}\n`)
}

/** A comfy-service that has to be killed leaves a ComfyUI of its own behind. */
const stopMs = 60_000

type FleetMore = Omit<FleetOptions, 'redisUrl' | 'folder'>

/** Measures on a fleet of its own, which goes afterwards. */
const withFleet = async <T>(
  more: FleetMore,
  measure: (fleet: Fleet, redisUrl: string, folder: string) => Promise<T>
): Promise<T> => {
  const redis = await provideRedisOrExit()
  const folder = await mkdtemp(join(tmpdir(), 'comfy-balancer-bench-'))
  const env = { REDIS_KEY_PREFIX: prefix, ...more.env }
  const fleet = await startFleet({ ...more, redisUrl: redis.url, folder, env })
  try {
    return await measure(fleet, redis.url, folder)
  } finally {
    await fleet.stop(stopMs)
    await redis.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

/** The same; prints the result and keeps it. */
const onFleet = async (more: FleetMore, measure: Parameters<typeof withFleet<Result>>[1]): Promise<void> =>
  keep(await withFleet(more, measure))

/** `npm run bench -- overhead [steady rounds]`; COMFYUI_URLS measures against a real ComfyUI instead of the simulator. */
const overhead = async (rounds: number): Promise<void> => {
  const real = process.env.COMFYUI_URLS?.split(',').slice(0, 1)
  const backend = real ? { comfyUiUrls: real } : { simulators: [{ speed: 1 }], timeScale: 0.01 }
  await onFleet({ ...backend, env: { AUTH_MODE: 'none' } }, async fleet => {
    const table = overheadTable(await measureOverhead(fleet, rounds))
    const title = `Sequential trivial tasks, one of each way in turn, ${rounds} once all is warm, one ${real ? 'real' : 'simulated'} ComfyUI, Node ${process.version}`
    return { file: real ? 'overhead-real.md' : 'overhead.md', text: `${title}\n\n${table}\n\n${overheadNote}` }
  })
}

const overheadNote = [
  'A prompt straight to ComfyUI is a stranger to comfy-service, which gives its node to nobody until that prompt is seen to be gone: hence the',
  'p95 of the way that comes next in turn. In the first seconds after a start V8 has not compiled yet what runs often.'
].join('\n')

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

/** `npm run bench -- api [rounds]`: what accepting and polling cost beside the least that a durable API can do. */
const api = async (rounds: number): Promise<void> => {
  const env = { AUTH_MODE: 'none', MAX_QUEUED: '10000000', LOG_LEVEL: 'info' }
  await onFleet({ simulators: [{ speed: 1 }], env }, async (fleet, redisUrl, folder) => {
    const { posts, gets, fanOut } = await measureApiSpeed({ fleet, redisUrl, prefix, folder }, rounds)
    const text = [
      `Requests of 3 KB over 16 connections, best of ${rounds} rounds in turn, load, servers and Redis on the same ${availableParallelism()} cores, Node ${process.version}`,
      apiSpeedTable(posts),
      apiSpeedTable(gets),
      fanOutLine(fanOut)
    ]
    return { file: 'api.md', text: text.join('\n\n') }
  })
}

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

/** `npm run bench -- scale [tasks]`: what a task costs with many nodes, a long queue, many tenants. */
const scale = async (tasks: number): Promise<void> => {
  const redis = await provideRedisOrExit()
  try {
    const report = scaleReport(await measureScale(redis.url, tasks))
    const title = `${tasks} times a task ends and the next is dispatched in its place, by the real dispatcher and scripts, Redis ${redis.version}, Node ${process.version}`
    keep({ file: 'scale.md', text: `${title}\n\n${report}` })
  } finally {
    await redis.stop()
  }
}

/** `npm run bench -- real [rounds]`: the same tasks through us and through what users would pick instead, real programs all. */
const real = async (rounds: number): Promise<void> => {
  const more = { env: { AUTH_MODE: 'none' }, simulatorArgs: ['--tell-prompts', '--no-previews', '--load-gbps', '10'] }
  const race = await withFleet({ ...more, simulators: speeds.map(speed => ({ speed })) }, (fleet, _, folder) =>
    measureRace(fleet, folder, rounds)
  )
  const gaps = await withFleet({ ...more, simulators: [{ speed: 1 }] }, (fleet, _, folder) =>
    measureIdleGaps(fleet, folder, rounds)
  )
  const text = [
    [
      `${trace.tasks} tasks, one each ${trace.everyMs} ms, for four simulated GPUs with speeds ${speeds.join(', ')}, whose model is loaded; a task takes them`,
      `${race.taskMs.join(', ')} ms, measured inside ComfyUI. Until the last picture is in the caller's hands, ${rounds} runs of each way in turn, once`,
      `all programs are warm and our balancer has learned the speeds. ${race.peers.join(', ')}, Node ${process.version}, ${availableParallelism()} cores for all programs together`
    ].join('\n'),
    raceTable(race),
    `How long a simulated GPU does nothing between two of ${waitingTasks} tasks of one model that wait for it, by its own clock, ${rounds} runs of each way in turn`,
    idleGapTable(gaps),
    realNote
  ]
  keep({ file: 'real.md', text: text.join('\n\n') })
  writeFileSync(join(results, 'real.svg'), `${raceChart(race)}\n`)
}

const realNote = [
  "HAProxy's `leastconn` and nginx' `least_conn` stand in front of ComfyUI's own API, where a post is answered at once and every node always",
  'looks free. "One connection each" is HAProxy with `maxconn 1` and its queue, in front of a small program beside each ComfyUI that holds the',
  "answer until the prompt has ended; ComfyUI has nothing of the kind. ComfyPool's other two modes hand every task to a ComfyUI at once."
].join('\n')

type Judged = Result & { readonly isLoss: boolean }

/** The same on programs that can be killed, with the times that we ship; the exit code is 1 when something was lost. */
const onRig = async (nodes: number, measure: (rig: Rig) => Promise<Judged>): Promise<void> => {
  const folder = makeOwnFolder('bench')
  const lag = watchLag()
  const rig = await startRig({ folder, nodes, balancers: 2, timers: {} })
  try {
    const { isLoss, file, text } = await measure(rig)
    const longest = Math.max(0, ...lag.lags.map(({ ms }) => ms))
    keep({ file, text: `${text}\n\nThis machine kept the measurement itself waiting for at most ${longest} ms.` })
    if (isLoss) process.exitCode = 1
  } finally {
    lag.stop()
    await rig.stop()
  }
  if (process.exitCode === 1) say(`the logs are in ${folder}`)
  else rmSync(folder, { recursive: true, force: true })
}

/** `npm run bench -- failover [times]`: how soon another node has the task of one that died, and what a balancer's death costs. */
const failover = async (times: number): Promise<void> =>
  onRig(4, async rig => {
    const nodes = failoverTable(await measureFailover(rig, times))
    const deaths = await measureBalancerDeath(rig)
    const text = [
      `From the blow to the dispatch of the node's task to another one, ${times} of each in turn; 4 simulated GPUs, 2 balancers, times as shipped, Node ${process.version}`,
      nodes,
      'One of two balancers dies (kill -9) while tasks wait and run; each prompt that ran inside ComfyUI is counted',
      balancerDeathTable(deaths)
    ]
    return { file: 'failover.md', text: text.join('\n\n'), isLoss: deaths.some(hasLoss) }
  })

/** `npm run bench -- redis-restart [times]`: whether accepted tasks outlive Redis' deaths, and a Redis that is full. */
const redisRestart = async (times: number): Promise<void> =>
  onRig(4, async rig => {
    const kept = [await measureRestarts(rig, times), ...(await measureFull(rig))]
    const text = [
      `Posts from 6 callers through 2 balancers and their tasks' ends, 4 simulated GPUs, times as shipped, Node ${process.version}`,
      keptTable(kept),
      redisNote
    ]
    return { file: 'redis-restart.md', text: text.join('\n\n'), isLoss: kept.some(hasLost) }
  })

/** `npm run bench -- scheduling [seeds]`: the policy against what users would have instead, in virtual time; no Redis, no processes. */
const scheduling = async (seeds: number): Promise<void> => {
  const all = compare(seeds)
  writeFileSync(join(results, 'scheduling.svg'), `${reportChart(all)}\n`)
  keep({ file: 'scheduling.md', text: reportText(all, seeds) })
}

const redisNote = [
  'Redis appends to its file with `appendfsync everysec`, as we ship it, and dies by `kill -9`: what the process has written the kernel',
  'still has, so nothing is lost by that. Only when the machine itself dies (power, kernel) may up to about the last second of accepted',
  'tasks be gone; `appendfsync always` closes that gap at the price of a disk write for each change.',
  '',
  '`none` counts posts that got no answer in time; they are repeated under their idempotency key until they are accepted.'
].join('\n')

const soakWarmUpMs = 60_000

/** `npm run bench -- soak [minutes]`: whether anything in the services grows under steady load; the exit code is 1 when it does. */
const soak = async (minutes: number): Promise<void> => {
  const receiver = await startReceiver()
  const env = {
    AUTH_MODE: 'none',
    EGRESS_ALLOW_PRIVATE_CIDRS: '127.0.0.0/8',
    EGRESS_PORTS_ALLOW: String(receiver.port),
    RETENTION_SECONDS: '30',
    FAILED_RETENTION_SECONDS: '30'
  }
  const simulators = [{ speed: 1 }, { speed: 1 }]
  try {
    await onFleet({ simulators, timeScale: 0.02, env }, async (fleet, redisUrl) => {
      const measured = await measureSoak(fleet, redisUrl, receiver, { minutes, warmUpMs: soakWarmUpMs })
      const { succeeded, others, webhooks } = measured.load
      const title = [
        `${minutes} minutes of steady load after one that is not counted, a sample each 3 s; 2 simulated GPUs, time at 50 times its pace, Node ${process.version}`,
        `${succeeded} tasks succeeded, ${others} failed on purpose or were cancelled, ${webhooks} webhooks came; an ended task is kept for 30 s`
      ].join('\n')
      const grown = growing(measured).map(({ program, what }) => `${program}: ${what}`)
      if (grown.length > 0) process.exitCode = 1
      const verdict = grown.length === 0 ? 'Nothing grows.' : `It grows: ${grown.join(', ')}.`
      return { file: 'soak.md', text: [title, soakTable(measured), verdict].join('\n\n') }
    })
  } finally {
    receiver.close()
  }
}

/** `npm run bench -- rolling-restart [nodes]`: a rolling restart under load, by the command that operators use. */
const rollingRestart = async (nodes: number): Promise<void> => {
  const simulators = Array.from({ length: nodes }, () => ({ speed: 1 }))
  await onFleet({ simulators, areOwned: true, env: { AUTH_MODE: 'none' } }, async fleet => {
    const found = await measureRollingRestart(fleet)
    if (isBroken(found)) process.exitCode = 1
    const title = `\`npm run rolling-restart\` on ${nodes} simulated GPUs, one at a time, with three tasks of 1 s for each under way all the time, Node ${process.version}`
    const text = [title, rollingRestartTable(found), `\`\`\`\n${found.said.trim()}\n\`\`\``].join('\n\n')
    return { file: 'rolling-restart.md', text }
  })
}

const suites: Readonly<Record<string, (argument: number) => Promise<void>>> = {
  ...{ overhead, api, fairness, followers, ledger, real, scale, failover, scheduling, soak },
  'redis-restart': redisRestart,
  'rolling-restart': rollingRestart
}

const defaults: Readonly<Record<string, string>> = {
  ...{
    overhead: '400',
    api: '3',
    fairness: '40',
    followers: '200',
    ledger: '60',
    real: '5',
    scale: '100',
    failover: '30',
    scheduling: '5',
    soak: '10'
  },
  'redis-restart': '10',
  'rolling-restart': '4'
}
const [name = '', argument = defaults[name] ?? ''] = process.argv.slice(2)
const suite = suites[name]
if (suite && /^[1-9]\d{0,4}$/.test(argument)) await suite(Number(argument))
else {
  say(`use: npm run bench -- ${Object.keys(suites).join(' | ')} [rounds or minutes]`)
  process.exitCode = 1
}
