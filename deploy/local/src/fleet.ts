import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { allOrThrow, type Crew, createCrew } from './crew.ts'
import { waitForNodes } from './fleet-members.ts'
import { freePort } from './port.ts'
import type { Process } from './processes.ts'
import { root } from './root.ts'

/** One comfy-service with the ComfyUI that it wraps; `simulator` is missing when that is a real one. */
export type FleetNode = {
  readonly id: string
  readonly url: string
  readonly comfyUiUrl: string
  readonly service: Process
  readonly simulator?: Process
}

export type Fleet = {
  readonly balancerUrls: readonly string[]
  readonly balancers: readonly Process[]
  readonly nodes: readonly FleetNode[]
  /** Those whose ComfyUI did not answer in time; a real one may come later. */
  readonly absent: readonly FleetNode[]
  /** Ends balancers and services, then the simulators. */
  readonly stop: (graceMs?: number) => Promise<void>
}

export type FleetOptions = {
  readonly redisUrl: string
  /** One simulated ComfyUI each, by its speed factor; not used with `comfyUiUrls`. */
  readonly simulators?: readonly { readonly speed: number; readonly vramGb?: number }[]
  /** The simulators' `--time-scale`; 1 is real time. */
  readonly timeScale?: number
  /** Each comfy-service starts its simulator itself, by COMFYUI_COMMAND. */
  readonly areOwned?: boolean
  /** Added to every simulator's command line. */
  readonly simulatorArgs?: readonly string[]
  readonly comfyUiUrls?: readonly string[]
  readonly balancers?: 1 | 2
  /** Port of the first balancer; a free one when left out. */
  readonly balancerPort?: number
  /** Where outputs and logs go. */
  readonly folder: string
  /** Added to the environment of every service and balancer. */
  readonly env?: Readonly<Record<string, string>>
  /** Where a logdy listens: its port for balancers and its port for services. */
  readonly logdy?: { readonly balancerPort: number; readonly servicePort: number }
  /** Told when one of the fleet's programs ends although nobody asked for it. */
  readonly onUnexpectedEnd?: (process: Process, how: string) => void
}

/** Starts simulators (or takes real ComfyUIs), one comfy-service for each, and the balancers, all on loopback; resolves when all of them listen and every node has joined. */
export const startFleet = async (options: FleetOptions): Promise<Fleet> => {
  const crew = createCrew(options.onUnexpectedEnd)
  try {
    const backends = await startBackends(options, crew)
    const [nodes, balancers] = await Promise.all([
      allOrThrow(backends.map((backend, index) => startNode(options, crew, backend, index))),
      allOrThrow(Array.from({ length: options.balancers ?? 1 }, (_, index) => startBalancer(options, crew, index)))
    ])
    const balancerUrls = balancers.map(one => one.ready)
    const absent = await waitForNodes(balancerUrls, nodes, (options.env?.AUTH_MODE ?? process.env.AUTH_MODE) === 'keys')
    const missing = absent.find(({ simulator }) => simulator)
    if (missing) throw new Error(`${missing.id} did not join the fleet; its log ends:\n${missing.service.lastLines()}`)
    return { nodes, balancers, balancerUrls, absent, stop: crew.stop }
  } catch (error) {
    await crew.stop(1_000)
    throw error
  }
}

type Backend = { readonly url: string; readonly simulator?: Process; readonly command?: readonly string[] }

const startBackends = (options: FleetOptions, crew: Crew): Promise<Backend[]> =>
  options.comfyUiUrls
    ? Promise.resolve(options.comfyUiUrls.map(url => ({ url })))
    : allOrThrow(
        (options.simulators ?? []).map((_, index) =>
          options.areOwned ? ownSimulator(options, index) : startSimulator(options, crew, index)
        )
      )

const startSimulator = async (options: FleetOptions, crew: Crew, index: number): Promise<Backend> => {
  const name = simulatorName(index)
  const simulator = await crew.start(false, {
    name,
    command: process.execPath,
    args: simulatorArguments(options, index, 0),
    logFile: join(options.folder, 'logs', `${name}.log`),
    readyWhen: simulatorUrl
  })
  return { url: simulator.ready, simulator }
}

const ownSimulator = async (options: FleetOptions, index: number): Promise<Backend> => {
  const port = await freePort()
  const command = [process.execPath, ...simulatorArguments(options, index, port)]
  return { url: `http://127.0.0.1:${port}`, command }
}

const simulatorName = (index: number): string => `comfyui-${letter(index)}`

const simulatorArguments = (options: FleetOptions, index: number, port: number): string[] => {
  const { speed, vramGb = 24 } = options.simulators![index]!
  const modelsDir = options.env?.COMFYUI_MODELS_DIR
  return [
    join(root, 'packages/comfyui-simulator/dist/src/main.js'),
    ...['--port', String(port), '--listen', '127.0.0.1', '--name', `Simulated GPU ${letter(index).toUpperCase()}`],
    ...['--speed', String(speed), '--time-scale', String(options.timeScale ?? 1), '--vram-gb', String(vramGb)],
    ...emptyFolders(join(options.folder, simulatorName(index))),
    ...(options.simulatorArgs ?? []),
    ...(modelsDir === undefined ? [] : ['--models-dir', modelsDir])
  ]
}

/** A simulator keeps nothing from one start to the next, and what it leaves behind is ours to find and remove. */
const emptyFolders = (home: string): string[] => {
  rmSync(home, { recursive: true, force: true })
  return ['output', 'input', 'temp'].flatMap(kind => {
    mkdirSync(join(home, kind), { recursive: true })
    return [`--${kind}-dir`, join(home, kind)]
  })
}

const startNode = async (options: FleetOptions, crew: Crew, backend: Backend, index: number): Promise<FleetNode> => {
  const id = `gpu-${letter(index)}`
  const service = await crew.start(true, {
    name: id,
    command: process.execPath,
    args: ['--enable-source-maps', join(root, 'services/comfy-service/dist/src/main.js')],
    env: {
      ...environment(options, options.logdy?.servicePort),
      ...{ PORT: '0', NODE_ID: id, COMFYUI_URL: backend.url },
      ...(backend.command ? { COMFYUI_COMMAND: JSON.stringify(backend.command) } : {})
    },
    logFile: join(options.folder, 'logs', `${id}.log`),
    readyWhen: listeningUrl
  })
  const { url: comfyUiUrl, simulator } = backend
  return { id, url: service.ready, comfyUiUrl, service, ...(simulator ? { simulator } : {}) }
}

const startBalancer = (options: FleetOptions, crew: Crew, index: number) => {
  const name = index === 0 ? 'balancer' : `balancer-${index + 1}`
  const port = index === 0 ? (options.balancerPort ?? 0) : 0
  return crew.start(true, {
    name,
    command: process.execPath,
    args: ['--enable-source-maps', join(root, 'services/comfy-balancer/dist/src/main.js')],
    env: { ...environment(options, options.logdy?.balancerPort), PORT: String(port) },
    logFile: join(options.folder, 'logs', `${name}.log`),
    readyWhen: listeningUrl
  })
}

/** The services refuse these beside REDIS_URL. */
const otherWaysToRedis = ['REDIS_HOST', 'REDIS_PORT', 'REDIS_USERNAME', 'REDIS_PASSWORD', 'REDIS_DB']

const environment = ({ redisUrl, folder, env }: FleetOptions, logdyPort: number | undefined) => ({
  HOST: '127.0.0.1',
  ...Object.fromEntries(otherWaysToRedis.map(name => [name, undefined])),
  REDIS_URL: redisUrl,
  METRICS_PORT: '0',
  TEMPLATES_DIR: join(root, 'deploy/templates'),
  OUTPUT_STORE: `folder:${join(folder, 'outputs')}`,
  ...(logdyPort === undefined ? {} : { LOG_LOGDY_HOST: '127.0.0.1', LOG_LOGDY_PORT: String(logdyPort) }),
  ...env
})

const letter = (index: number): string => String.fromCharCode('a'.charCodeAt(0) + index)

const listeningUrl = (line: string): string | undefined => {
  const { msg, url } = parse(line)
  return msg === 'listening' && typeof url === 'string' ? url : undefined
}

const simulatorUrl = (line: string): string | undefined => {
  const { event, port } = parse(line)
  return event === 'listening' && typeof port === 'number' ? `http://127.0.0.1:${port}` : undefined
}

const parse = (line: string): Record<string, unknown> => {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}
