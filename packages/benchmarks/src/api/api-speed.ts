import { join } from 'node:path'
import { createClient } from '@comfy-balancer/client/client'
import { drainNode } from '@comfy-balancer/contract/endpoints/nodes'
import type { Fleet } from '@comfy-balancer/local/fleet'
import { type Process, startProcess } from '@comfy-balancer/local/processes'
import { root } from '@comfy-balancer/local/root'
import autocannon from 'autocannon'
import { Redis } from 'ioredis'
import { type BarGroup, barChart } from '../bar-chart.ts'
import { quantile } from '../quantile.ts'
import { markdownTable } from '../table.ts'
import { cpuTimeMs } from './cpu-time.ts'
import { type FanOut, measureFanOut } from './fan-out.ts'

/** One server under load, and the rounds that it was measured in. */
export type Measured = { readonly name: string; readonly rounds: Round[] }

/** Requests per second, latencies in ms, and CPU in ms per request. */
export type Round = {
  readonly rate: number
  readonly p50: number
  readonly p99: number
  readonly nodeCpu: number
  readonly redisCpu: number
}

export type ApiSpeed = {
  readonly posts: readonly Measured[]
  readonly gets: readonly Measured[]
  readonly fanOut: FanOut
}

export type ApiPlace = {
  readonly fleet: Fleet
  readonly redisUrl: string
  readonly prefix: string
  readonly folder: string
}

const connections = 16
const warmUpSeconds = 2
const roundSeconds = 4
const bodyBytes = 3_000
const fanOutEvents = 20

/** A text-to-image workflow, as long as users' are. */
const request = (): string => {
  const graph = {
    '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'sd_xl_base_1.0.safetensors' } },
    '2': { class_type: 'CLIPTextEncode', inputs: { text: '', clip: ['1', 1] } },
    '3': { class_type: 'CLIPTextEncode', inputs: { text: 'blurry, low quality', clip: ['1', 1] } },
    '4': { class_type: 'EmptyLatentImage', inputs: { width: 1024, height: 1024, batch_size: 1 } },
    '5': {
      class_type: 'KSampler',
      inputs: {
        ...{ seed: 7, steps: 30, cfg: 7, sampler_name: 'euler', scheduler: 'normal', denoise: 1 },
        ...{ model: ['1', 0], positive: ['2', 0], negative: ['3', 0], latent_image: ['4', 0] }
      }
    },
    '6': { class_type: 'VAEDecode', inputs: { samples: ['5', 0], vae: ['1', 2] } },
    '7': { class_type: 'SaveImage', inputs: { images: ['6', 0], filename_prefix: 'speed' } }
  }
  const missing = bodyBytes - JSON.stringify({ prompt: graph }).length
  graph['2'].inputs.text = 'a lake in the mountains, '.repeat(200).slice(0, missing)
  return JSON.stringify({ prompt: graph })
}

const pidOf = async (redisUrl: string): Promise<number> => {
  const redis = new Redis(redisUrl)
  const info = await redis.info('server').finally(() => redis.disconnect())
  return Number(/process_id:(\d+)/.exec(info)?.[1])
}

type Target = { readonly name: string; readonly pid: number; readonly url: string; readonly method: 'GET' | 'POST' }

/**
 * Accepting and polling, through comfy-balancer and through the two peers, in turn so many times. The only node is drained, so that tasks
 * are accepted and stay queued; each acceptance is in Redis before it is answered.
 */
export const measureApiSpeed = async (place: ApiPlace, rounds: number): Promise<ApiSpeed> => {
  const { fleet, redisUrl, prefix, folder } = place
  const redisPid = await pidOf(redisUrl)
  const [url = ''] = fleet.balancerUrls
  const client = createClient({ baseUrl: url })
  await client.call(drainNode, { params: { id: fleet.nodes[0]!.id } })
  const body = request()
  const { id } = await client.generate(JSON.parse(body))
  const peers = await Promise.all(['hello', 'scripted'].map(mode => startPeer(mode, redisUrl, folder)))
  try {
    const [hello, scripted] = peers as [Peer, Peer]
    const balancer = fleet.balancers[0]!.pid
    const measureAll = async (targets: readonly Target[]): Promise<Measured[]> => {
      const measured = targets.map(target => ({ ...target, rounds: [] as Round[] }))
      for (let round = 0; round < rounds; round++)
        for (const target of measured) target.rounds.push(await load(target, body, redisPid))
      return measured
    }
    const posts = await measureAll([
      { name: 'Fastify that says hello', pid: hello.pid, url: hello.ready, method: 'POST' },
      { name: 'Fastify, validation, one script', pid: scripted.pid, url: scripted.ready, method: 'POST' },
      { name: 'POST /api/v1/generate', pid: balancer, url: `${url}/api/v1/generate`, method: 'POST' }
    ])
    const gets = await measureAll([
      { name: 'Fastify that says hello', pid: hello.pid, url: `${hello.ready}/x`, method: 'GET' },
      { name: 'Fastify, one read', pid: scripted.pid, url: `${scripted.ready}/${id}`, method: 'GET' },
      { name: 'GET /api/v1/tasks/{id}', pid: balancer, url: `${url}/api/v1/tasks/${id}`, method: 'GET' }
    ])
    const fanOut = await measureFanOut({ url, pid: balancer, redisUrl, prefix, task: id }, fanOutEvents)
    return { posts, gets, fanOut }
  } finally {
    await Promise.all(peers.map(peer => peer.stop(1_000)))
  }
}

type Peer = Process & { readonly ready: string }

const startPeer = (mode: string, redisUrl: string, folder: string): Promise<Peer> =>
  startProcess({
    name: `peer ${mode}`,
    command: process.execPath,
    args: [join(root, 'packages/benchmarks/dist/src/api/peer-server.js'), mode, redisUrl, `{peer-${process.pid}}:`],
    env: { NODE_OPTIONS: '' },
    logFile: join(folder, 'logs', `peer-${mode}.log`),
    readyWhen: line => /^listening (\S+)/.exec(line)?.[1]
  })

const load = async ({ name, pid, url, method }: Target, body: string, redisPid: number): Promise<Round> => {
  const shoot = (duration: number) =>
    autocannon({
      ...{ url, method, connections, duration },
      ...(method === 'POST' ? { body, headers: { 'content-type': 'application/json' } } : {})
    })
  await shoot(warmUpSeconds)
  const [node, redis] = [cpuTimeMs(pid), cpuTimeMs(redisPid)]
  const { requests, latency, non2xx, errors } = await shoot(roundSeconds)
  if (non2xx > 0 || errors > 0) throw new Error(`${name}: ${non2xx} answers are no success, ${errors} are missing`)
  return {
    rate: requests.total / roundSeconds,
    p50: latency.p50,
    p99: latency.p99,
    nodeCpu: (cpuTimeMs(pid) - node) / requests.total,
    redisCpu: (cpuTimeMs(redisPid) - redis) / requests.total
  }
}

const best = (of: (round: Round) => number, { rounds }: Measured): number => Math.max(...rounds.map(of))

/** Each server's best rate as a share of the rate of the one before the last, which does what must be done at least. */
const shares = (measured: readonly Measured[]): number[] => {
  const rates = measured.map(one => best(({ rate }) => rate, one))
  return rates.map(rate => rate / rates.at(-2)!)
}

/** Requests per second of each server, as shares of what the least that is durable reaches. */
export const apiSpeedChart = ({ posts, gets }: Pick<ApiSpeed, 'posts' | 'gets'>): string => {
  const groupOf = (title: string, measured: readonly Measured[]): BarGroup => {
    const values = shares(measured)
    const ours = measured.length - 1
    return { title, bars: measured.map(({ name }, i) => ({ label: name, value: values[i]!, isOurs: i === ours })) }
  }
  return barChart('Requests per second, as a share of the least that is durable', [
    groupOf('Accepting a task of 3 KB', posts),
    groupOf('Polling a task', gets)
  ])
}

/** Each server's best round, and its rate as a share of the one before the last, which does what must be done at least. */
export const apiSpeedTable = (measured: readonly Measured[]): string => {
  const least = (of: (round: Round) => number, { rounds }: Measured) => Math.min(...rounds.map(of))
  const share = shares(measured)
  const middle = (of: (round: Round) => number, { rounds }: Measured) => quantile(rounds.map(of), 0.5)
  const rows = measured.map((one, i) => [
    one.name,
    String(Math.round(best(({ rate }) => rate, one))),
    share[i]!.toFixed(2),
    `${middle(({ p50 }) => p50, one)} / ${middle(({ p99 }) => p99, one)} ms`,
    `${least(({ nodeCpu }) => nodeCpu, one).toFixed(3)} ms`,
    `${least(({ redisCpu }) => redisCpu, one).toFixed(3)} ms`
  ])
  return markdownTable(
    ['server', 'requests/s', 'share', 'p50 / p99', 'its CPU a request', "Redis' CPU a request"],
    rows
  )
}
