import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { root } from '@comfy-balancer/local/root'
import { Redis } from 'ioredis'
import { makeTenant } from '../../make-tenant.ts'
import { timerEnvironment } from '../timers.ts'
import { Link } from './link.ts'
import { type MutantName, writeMutant } from './mutants.ts'
import { Program } from './program.ts'
import { createRedis, findRedis } from './redis.ts'
import { armPoison } from './simulator.ts'
import { stablePort } from './stable-port.ts'

/** One comfy-service, its simulated ComfyUI and the links between them and the others. */
export type RigNode = {
  readonly id: string
  readonly url: string
  readonly comfyUiUrl: string
  readonly service: Program
  readonly comfyui: Program
  readonly toRedis: Link
  readonly toComfyui: Link
  /** From the balancers to the node. */
  readonly fromBalancers: Link
  /** By how much its wall clock is wrong from its next start on. */
  setSkew(ms: number): void
}

export type RigBalancer = {
  readonly id: string
  readonly url: string
  readonly program: Program
  readonly toRedis: Link
}

/** The whole fleet under the rig's hands. */
export type Rig = {
  readonly prefix: string
  readonly folder: string
  readonly redis: Program
  readonly appendOnlyFolder: string
  readonly balancers: readonly RigBalancer[]
  readonly nodes: readonly RigNode[]
  readonly programs: readonly Program[]
  readonly links: readonly Link[]
  /** One key of each tenant; none where everybody is one tenant. */
  readonly apiKeys: readonly string[]
  /** The rig's own connection, which no fault of a link touches. */
  readonly ledger: Redis
  stop(): Promise<void>
}

export type RigOptions = {
  readonly folder: string
  readonly nodes: number
  readonly balancers: number
  /** With these, keys are asked for. */
  readonly tenants?: readonly string[]
  readonly mutant?: MutantName
  /** The services' times as variables; scaled to the rig's when left out. */
  readonly timers?: Readonly<Record<string, string>>
}

const prefix = '{chaos}:'
/** A simulated second of `TestSleep` reports a hundred times; stretched, ten times a real second. */
export const timeScale = 10
const preload = pathToFileURL(fileURLToPath(new URL('./preload.js', import.meta.url))).href

/** Starts Redis, simulators, services and balancers, each behind links of its own. */
export const startRig = async (options: RigOptions): Promise<Rig> => {
  const { folder, nodes, balancers, tenants = [], mutant, timers = timerEnvironment } = options
  mkdirSync(folder, { recursive: true })
  const scripts = mutant && writeMutant(mutant, folder)
  const shared = { folder, timers, authMode: tenants.length > 0 ? 'keys' : 'none', ...(scripts ? { scripts } : {}) }
  const redisPort = await stablePort()
  const redisLinks: Link[] = []
  const linkToRedis = async (name: string): Promise<Link> => {
    const link = new Link(`${name} to redis`, () => redisPort)
    redisLinks.push(link)
    await link.open()
    return link
  }
  const madeNodes: RigNode[] = []
  for (let i = 0; i < nodes; i++) madeNodes.push(await createNode(shared, i, await linkToRedis(`gpu-${letter(i)}`)))
  const madeBalancers: RigBalancer[] = []
  for (let i = 1; i <= balancers; i++)
    madeBalancers.push(await createBalancer(shared, i, await linkToRedis(`balancer-${i}`)))
  const redis = createRedis(await findRedis(), folder, redisPort, redisLinks)
  const inFront = [...madeBalancers.map(one => one.program), ...madeNodes.map(one => one.service)]
  const behind = madeNodes.map(one => one.comfyui)
  const ledger = new Redis(redisPort, '127.0.0.1', {
    lazyConnect: true,
    commandTimeout: 2_000,
    maxRetriesPerRequest: 1,
    retryStrategy: () => 100
  })
  ledger.on('error', () => undefined)
  const stop = async (): Promise<void> => {
    await Promise.all(inFront.map(one => one.end(500)))
    await Promise.all([...behind, redis.program].map(one => one.end(500)))
    ledger.disconnect()
    for (const link of rig.links) link.close()
  }
  const apiKeys: string[] = []
  const rig: Rig = {
    prefix,
    folder,
    redis: redis.program,
    appendOnlyFolder: redis.appendOnlyFolder,
    balancers: madeBalancers,
    nodes: madeNodes,
    programs: [redis.program, ...behind, ...inFront],
    links: [...redisLinks, ...madeNodes.flatMap(node => [node.toComfyui, node.fromBalancers])],
    apiKeys,
    ledger,
    stop
  }
  try {
    await redis.program.start()
    await ledger.connect()
    const redisUrl = `redis://127.0.0.1:${redisPort}`
    for (const tenant of tenants) apiKeys.push(makeTenant({ redisUrl, prefix }, tenant))
    await Promise.all(behind.map(one => one.start()))
    await Promise.all(inFront.map(one => one.start()))
    return rig
  } catch (error) {
    await stop()
    throw error
  }
}

type Shared = Pick<RigOptions, 'folder'> &
  Required<Pick<RigOptions, 'timers'>> & { readonly authMode: string; readonly scripts?: string }

const createNode = async (shared: Shared, index: number, toRedis: Link): Promise<RigNode> => {
  const id = `gpu-${letter(index)}`
  const [port, comfyUiPort] = [await stablePort(), await stablePort()]
  const toComfyui = new Link(`${id} to comfyui`, () => comfyUiPort)
  const fromBalancers = new Link(`balancers to ${id}`, () => port)
  await toComfyui.open()
  await fromBalancers.open()
  let skewMs = 0
  const comfyUiUrl = `http://127.0.0.1:${comfyUiPort}`
  const comfyui = new Program({
    name: `comfyui-${letter(index)}`,
    links: [toComfyui],
    start: life => simulator(shared, `comfyui-${letter(index)}`, comfyUiPort, life),
    whenUp: () => armPoison(comfyUiUrl)
  })
  const service = new Program({
    name: id,
    links: [fromBalancers],
    start: life => ({
      ...program(shared, id, life, 'services/comfy-service/dist/src/main.js'),
      env: {
        ...environment(shared, toRedis, skewMs),
        PORT: String(port),
        NODE_ID: id,
        NODE_URL: `http://127.0.0.1:${fromBalancers.port}`,
        COMFYUI_URL: `http://127.0.0.1:${toComfyui.port}`
      }
    })
  })
  const setSkew = (ms: number): void => {
    skewMs = ms
  }
  return {
    id,
    url: `http://127.0.0.1:${port}`,
    comfyUiUrl,
    service,
    comfyui,
    toRedis,
    toComfyui,
    fromBalancers,
    setSkew
  }
}

const createBalancer = async (shared: Shared, number: number, toRedis: Link): Promise<RigBalancer> => {
  const id = `balancer-${number}`
  const port = await stablePort()
  const balancer = new Program({
    name: id,
    links: [],
    start: life => ({
      ...program(shared, id, life, 'services/comfy-balancer/dist/src/main.js'),
      env: { ...environment(shared, toRedis, 0), PORT: String(port), BALANCER_ID: id }
    })
  })
  return { id, url: `http://127.0.0.1:${port}`, program: balancer, toRedis }
}

const simulator = ({ folder }: Shared, name: string, port: number, life: number) => {
  const home = join(folder, name)
  const folders = ['output', 'input', 'temp'].flatMap(kind => {
    mkdirSync(join(home, kind), { recursive: true })
    return [`--${kind}-dir`, join(home, kind)]
  })
  return {
    command: process.execPath,
    args: [
      join(root, 'packages/comfyui-simulator/dist/src/main.js'),
      ...['--port', String(port), '--time-scale', String(timeScale), '--no-previews', '--tell-prompts', ...folders]
    ],
    env: { NODE_OPTIONS: '' },
    logFile: join(folder, 'logs', `${name}.${life}.log`),
    readyWhen: (line: string) => fieldOf(line, 'event', 'listening')
  }
}

const program = ({ folder }: Shared, name: string, life: number, main: string) => ({
  command: process.execPath,
  args: ['--enable-source-maps', join(root, main)],
  logFile: join(folder, 'logs', `${name}.${life}.log`),
  readyWhen: (line: string) => fieldOf(line, 'msg', 'listening')
})

const environment = ({ folder, timers, scripts, authMode }: Shared, toRedis: Link, skewMs: number) => ({
  HOST: '127.0.0.1',
  AUTH_MODE: authMode,
  ...Object.fromEntries(otherWaysToRedis.map(name => [name, undefined])),
  REDIS_URL: `redis://127.0.0.1:${toRedis.port}`,
  REDIS_KEY_PREFIX: prefix,
  METRICS_PORT: '0',
  OUTPUT_STORE: `folder:${join(folder, 'outputs')}`,
  ...timers,
  NODE_OPTIONS: scripts || skewMs !== 0 ? `--import ${preload}` : '',
  ...(scripts ? { CHAOS_SCRIPTS: scripts } : {}),
  ...(skewMs !== 0 ? { CHAOS_CLOCK_SKEW_MS: String(skewMs) } : {})
})

/** The services refuse these beside REDIS_URL. */
const otherWaysToRedis = ['REDIS_HOST', 'REDIS_PORT', 'REDIS_USERNAME', 'REDIS_PASSWORD', 'REDIS_DB']

const letter = (index: number): string => String.fromCharCode('a'.charCodeAt(0) + index)

const fieldOf = (line: string, field: string, value: string): string | undefined =>
  line.startsWith('{') && line.includes(`"${field}":"${value}"`) ? value : undefined
