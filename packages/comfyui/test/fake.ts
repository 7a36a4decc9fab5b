import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { type WebSocket, WebSocketServer } from 'ws'
import { recordOf, type Unchecked } from '../src/record.ts'

export type Handler = (
  request: { method: string; url: string; body: Buffer },
  response: ServerResponse
) => boolean | Promise<boolean>

/** Waits until `condition` holds; fails after `deadlineMs`. */
export const until = async (condition: () => boolean, deadlineMs = 5000): Promise<void> => {
  const endMs = performance.now() + deadlineMs
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`never came true: ${condition}`)
    await pause(5)
  }
}

/** A history entry that ends with the given message. */
export const entryOf = (promptId: string, outputs: Unchecked, event = 'execution_success', data: Unchecked = {}) => ({
  prompt: [0, promptId, {}, {}, []],
  outputs,
  status: {
    status_str: event === 'execution_success' ? 'success' : 'error',
    messages: [
      ['execution_start', { prompt_id: promptId }],
      ['execution_cached', { nodes: [], prompt_id: promptId }],
      [event, { prompt_id: promptId, ...data }]
    ] as [string, Unchecked][]
  }
})

/**
 * A ComfyUI whose queue, history and messages a test sets by hand. `handle` sees each request first and answers it by returning true.
 * By itself a POST to /prompt appends to `pending`, is answered, and broadcasts a status.
 */
export const createFake = async () => {
  const state = {
    running: [] as string[],
    pending: [] as string[],
    history: {} as Unchecked,
    number: 0,
    isDeaf: false,
    handle: (() => false) as Handler
  }
  const calls: { method: string; url: string; body: Buffer }[] = []
  const clients = new Map<WebSocket, string>()
  const greeted: string[] = []
  const connections = new Set<Socket>()
  const http = createServer((request, response) => void serve(request, response))
  const sockets = new WebSocketServer({ noServer: true })
  http.on('connection', socket => {
    connections.add(socket)
    socket.on('close', () => connections.delete(socket))
  })
  http.on('upgrade', (request, socket, head) =>
    sockets.handleUpgrade(request, socket, head, client => {
      const clientId = new URL(request.url!, 'http://x').searchParams.get('clientId')!
      clients.set(client, clientId)
      greeted.push(clientId)
      client.on('close', () => clients.delete(client))
      client.send(JSON.stringify(status(true)))
    })
  )
  const listen = (port: number) => new Promise<void>(done => http.listen(port, '127.0.0.1', () => done()))
  await listen(0)
  const { port } = http.address() as AddressInfo
  const remaining = () => state.running.length + state.pending.length
  const status = (isFirst: boolean) => ({
    type: 'status',
    data: { status: { exec_info: { queue_remaining: remaining() } }, ...(isFirst ? { sid: 'x' } : {}) }
  })

  const send = (message: unknown): void => {
    if (state.isDeaf) return
    for (const client of clients.keys()) client.send(Buffer.isBuffer(message) ? message : JSON.stringify(message))
  }

  const accept = (body: Buffer, response: ServerResponse): void => {
    const { prompt_id } = recordOf(JSON.parse(body.toString()))
    state.pending.push(String(prompt_id))
    response.end(JSON.stringify({ prompt_id, number: state.number++, node_errors: {} }))
    send(status(false))
  }

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const { method = '', url = '' } = request
    const call = { method, url, body: Buffer.concat(chunks) }
    calls.push(call)
    if (await state.handle(call, response)) return
    const json = (value: unknown) => void response.end(JSON.stringify(value))
    const items = (ids: string[]) => ids.map((id, index) => [index, id, {}, {}, []])
    if (url === '/prompt' && method === 'POST') accept(call.body, response)
    else if (url === '/queue' && method === 'GET') {
      json({ queue_running: items(state.running), queue_pending: items(state.pending) })
    } else if (url === '/queue') {
      const { delete: ids } = JSON.parse(call.body.toString())
      state.pending = state.pending.filter(id => !ids.includes(id))
      response.end()
    } else if (url.startsWith('/history/')) {
      const id = url.slice('/history/'.length)
      json(id in state.history ? { [id]: state.history[id] } : {})
    } else if (url === '/system_stats') json({ system: { comfyui_version: '0.3.64' }, devices: [] })
    else if (method === 'POST' && url.startsWith('/api/jobs')) response.writeHead(405).end('405: Method Not Allowed')
    else response.end()
  }

  const stop = async (): Promise<void> => {
    for (const connection of connections) connection.destroy()
    if (http.listening) await new Promise(done => http.close(done))
  }

  return {
    url: `http://127.0.0.1:${port}`,
    state,
    calls,
    /** Client ids in the order of their connections. */
    greeted,
    send,
    /** Reads no WebSocket any more, so that not even pings are answered. */
    freeze: () => {
      for (const client of clients.keys()) client.pause()
    },
    /** Sends a JSON message about a prompt. */
    tell: (type: string, promptId: string, data: Unchecked = {}) =>
      send({ type, data: { prompt_id: promptId, ...data } }),
    /** Cuts every WebSocket without a word. */
    cut: () => {
      for (const client of clients.keys()) client.terminate()
    },
    start: (promptId: string): void => {
      state.pending = state.pending.filter(id => id !== promptId)
      state.running = [promptId]
    },
    finish: (promptId: string, entry: unknown): void => {
      state.running = state.running.filter(id => id !== promptId)
      state.history[promptId] = entry
      send(status(false))
    },
    stop,
    restart: async (): Promise<void> => {
      Object.assign(state, { running: [], pending: [], history: {}, number: 0 })
      await listen(port)
    },
    close: async (): Promise<void> => {
      await stop()
      sockets.close()
    }
  }
}

export type Fake = Awaited<ReturnType<typeof createFake>>
