import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { encodePng } from '@comfy-balancer/comfyui-simulator/media/png-encoder'
import type { FleetUpdate, NodeGlance } from '@comfy-balancer/contract/fleet-update'
import { type WebSocket, WebSocketServer } from 'ws'
import { root } from '../src/root.ts'

const page = join(root, 'packages/dashboard/dist/page')
const types: Readonly<Record<string, string>> = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' }
const samples = 120

/**
 * The dashboard's files with an invented fleet of 500 nodes, 10,000 waiting tasks and 100 ended ones behind them, in which every node
 * changes with every update, as do the previews of those that are looked at. `say` sends the next update to all who look.
 */
export const startCrowd = async () => {
  const viewers = new Set<ServerResponse>()
  let turn = 0
  const write = (response: ServerResponse, isWhole: boolean): void => {
    response.write(`data: ${JSON.stringify(anUpdate(turn, isWhole))}\n\n`)
  }
  const server = createServer((request, response) => {
    const path = (request.url ?? '/').split('?', 1)[0]!
    if (path === '/api/v1/fleet/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      viewers.add(response)
      response.once('close', () => viewers.delete(response))
      return write(response, true)
    }
    if (path.startsWith('/api/')) {
      response.writeHead(200, { 'content-type': 'application/json' })
      return void response.end(
        JSON.stringify({ tenant: 'default', keyName: null, scopes: ['nodes:write', 'tasks:read'] })
      )
    }
    const file = path === '/' ? 'index.html' : path.slice(1)
    response.writeHead(200, { 'content-type': types[file.split('.').at(-1) ?? ''] ?? 'text/html' })
    response.end(readFileSync(join(page, file)))
  })
  const sockets = new WebSocketServer({ server, path: '/api/v1/ws' })
  const previewed = new Map<WebSocket, Set<string>>()
  sockets.on('connection', socket => {
    const tasks = new Set<string>()
    previewed.set(socket, tasks)
    socket.on('close', () => previewed.delete(socket))
    socket.on('message', text => {
      const { type, taskId } = JSON.parse(String(text)) as { type: string; taskId: string }
      if (type === 'subscribe') tasks.add(taskId)
      else tasks.delete(taskId)
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  return {
    url: `http://127.0.0.1:${port}`,
    say: (): void => {
      turn += 1
      for (const response of viewers) write(response, false)
      for (const [socket, tasks] of previewed)
        for (const taskId of tasks)
          socket.send(JSON.stringify({ type: 'task.preview', taskId, preview: previews[turn % 2] }))
    },
    stop: (): void => {
      sockets.close()
      for (const socket of previewed.keys()) socket.terminate()
      server.closeAllConnections()
      server.close()
    }
  }
}

/** Two pictures of noise, as large as ComfyUI's previews are. */
const previews = await Promise.all(
  [0, 1].map(async () => {
    const [width, height] = [128, 96]
    const bytes = await encodePng({ width, height, channels: 3, pixels: randomBytes(width * height * 3) })
    return { graphNode: '5', mediaType: 'image/png', data: bytes.toString('base64') }
  })
)

const epochMs = Date.UTC(2026, 10, 22, 9)
const models = ['sd_xl_base_1.0', 'flux1-dev-fp8', 'dreamshaper_8', 'wan2.1_t2v_14B', 'hidream_i1_full'].map(
  name => `${name}.safetensors`
)
const task = (i: number): string => `task_${String(i).padStart(32, '0')}`
const at = (turn: number, secondsAgo = 0): string => new Date(epochMs + (turn - secondsAgo) * 1000).toISOString()

const aNode = (i: number, turn: number): NodeGlance => {
  const isDown = i % 97 === 13
  const percent = (i * 7 + turn * 3) % 100
  const model = models[i % models.length]!
  return {
    id: `gpu-${i}`,
    state: isDown ? 'down' : 'ready',
    trouble: isDown ? 'Its comfy-service is silent. Is the machine up and can it reach Redis?' : null,
    silentSince: isDown ? at(0, 90) : null,
    gpu: {
      ...{ uuid: `GPU-${i}`, name: i % 3 ? 'NVIDIA L40S' : 'NVIDIA H100 80GB HBM3', vramTotalBytes: 48 * 2 ** 30 },
      ...{ utilization: percent / 100, vramUsedBytes: (10 + (percent % 30)) * 2 ** 30 },
      ...{ temperatureCelsius: 50 + (percent % 30), powerWatts: 200 + percent }
    },
    gpus: 1,
    resident: [model],
    restartable: !isDown,
    attempt: isDown
      ? null
      : {
          ...{ task: task(i), tenant: 'default', claimedAt: at(turn, 12), expectedAt: at(turn, -14), models: [model] },
          progress: { percent, graphNode: '5', classType: 'KSampler', value: percent % 30, max: 30 }
        }
  }
}

const wave = (i: number, from: number, count: number): number[] =>
  Array.from({ length: count }, (_, k) => Math.round(55 + 30 * Math.sin((i + from + k) / 6) + ((i * 31 + k * 17) % 13)))

const anUpdate = (turn: number, isWhole: boolean): FleetUpdate => ({
  ...{ at: at(turn), isWhole, gone: [], sampleSeconds: 5, logdyUrl: null },
  totals: {
    ...{ nodes: { ready: 494, down: 6 }, running: 494, queued: 10_000 + turn, delayed: 3, oldestAt: at(turn, 340) },
    ...{ windowSeconds: 600, succeeded: 12_345 + turn, failed: 17, reloadShare: 0.07 }
  },
  nodes: Array.from({ length: 500 }, (_, i) => aNode(i, turn)),
  queues: Array.from({ length: 280 }, (_, i) => ({
    ...{ tenant: `tenant-${i % 40}`, models: [models[i % models.length]!], waiting: 36 + ((i + turn) % 5) },
    foremostAt: at(turn, i)
  })),
  ended: Array.from({ length: 100 }, (_, k) => ({
    ...{ id: task(turn * 10 + 100 - k), tenant: 'default', state: 'succeeded' as const, node: `gpu-${k}`, attempt: 1 },
    ...{ models: [models[k % models.length]!], finishedAt: at(turn, k), queuedSeconds: 4.2, ranSeconds: 12.5 },
    ...{ reloaded: k % 14 === 0, outputs: 1, picture: null, error: null }
  })),
  ...(isWhole || turn % 5 === 0
    ? {
        history: Object.fromEntries(
          Array.from({ length: 500 }, (_, i) => {
            const series = isWhole ? wave(i, 0, samples) : wave(i, samples + turn, 1)
            return [
              `gpu-${i}`,
              { utilization: series, vram: series.map(value => value >> 1), busy: series.map(() => 100) }
            ]
          })
        )
      }
    : {})
})
