import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { type WebSocket, WebSocketServer } from 'ws'
import { isRecord, listOf, recordOf, type Unchecked } from '../src/record.ts'

/** One line of a recording; see the recordings' README. */
export type Line = Unchecked & { readonly t: number; readonly dir: string }

/** A scenario of a recording: its lines, and prompt id → expected outcome. */
export type Recording = { readonly lines: Line[]; readonly prompts: Record<string, string> }

/** The recorded POST of one prompt, and what the server said to it. */
export type RecordedPost = {
  readonly promptId: string
  readonly prompt: unknown
  readonly status: number
  readonly index: number
}

const maxGapMs = 3
const postDeadlineMs = 10_000

const recordingsFolder = new URL('../../../comfyui-simulator/recordings/', import.meta.url)
const unzipped = (file: string): string => gunzipSync(readFileSync(new URL(file, recordingsFolder))).toString('utf8')

/** Reads the recordings of a real ComfyUI by scenario; the simulator's package keeps them. */
export const readRecordings = (): Map<string, Recording> => {
  const index: { scenarios: Record<string, { file: string; prompts: Record<string, string> }> } = JSON.parse(
    unzipped('INDEX.json.gz')
  )
  return new Map(
    Object.entries(index.scenarios).map(([name, { file, prompts }]) => {
      const lines = unzipped(`${file}.gz`).split('\n').filter(Boolean)
      return [name, { prompts, lines: lines.map(line => JSON.parse(line)) }]
    })
  )
}

const textOf = (line: Line): string =>
  typeof line.raw === 'string' ? line.raw : typeof line.body === 'string' ? line.body : JSON.stringify(line.body ?? '')

const isPath = (line: Line, path: string): boolean => String(line.path).replace(/^\/api/, '') === path

const dataOf = (line: Line): Unchecked => recordOf(recordOf(line.body).data)

/** The prompts that were posted in a recording, in order. */
export const postsOf = ({ lines }: Recording): RecordedPost[] =>
  lines.flatMap((line, index) => {
    if (line.dir !== 'http-request' || line.method !== 'POST' || !isPath(line, '/prompt')) return []
    const answer = lines.find(other => other.dir === 'http-response' && other.req === line.req)
    const body = recordOf(line.body)
    const promptId = recordOf(answer?.body).prompt_id ?? body.prompt_id ?? `none-${line.req}`
    return [{ promptId: String(promptId), prompt: body.prompt, status: Number(answer?.status ?? 0), index }]
  })

type Place = 'pending' | 'running'

/** Where each prompt was at each line, and its history entry, as far as the recording tells. */
const createLedger = (lines: readonly Line[]) => {
  const places = new Map<string, Place>()
  const entries = new Map<string, unknown>()
  const known = new Map<string, unknown>()
  for (const line of lines) {
    if (line.dir !== 'http-response' || !/^(\/api)?\/history/.test(String(line.path)) || line.method !== 'GET') continue
    for (const [id, entry] of Object.entries(recordOf(line.body)))
      if (isRecord(entry) && entry.status) known.set(id, entry)
  }
  const synthetic = (id: string): unknown => {
    const own = lines.filter(line => line.dir === 'ws-recv' && dataOf(line).prompt_id === id)
    const messages = own.map(line => [recordOf(line.body).type, dataOf(line)])
    const executed = own.filter(line => recordOf(line.body).type === 'executed').map(dataOf)
    return {
      prompt: [0, id, {}, {}, []],
      outputs: Object.fromEntries(executed.map(({ node, output }) => [node, output])),
      status: { messages: messages.filter(([type]) => String(type).startsWith('execution_')) }
    }
  }
  const finish = (id: string): void => {
    places.delete(id)
    entries.set(id, known.get(id) ?? synthetic(id))
  }
  const seeQueue = (body: Unchecked): void => {
    const all = { running: listOf(body.queue_running), pending: listOf(body.queue_pending) }
    for (const place of ['running', 'pending'] as const) {
      for (const item of all[place]) places.set(String(listOf(item)[1]), place)
    }
  }
  return {
    places,
    entries,
    reset: (): void => {
      places.clear()
      entries.clear()
    },
    see: (line: Line): void => {
      if (line.dir === 'http-request' && line.method === 'POST' && isPath(line, '/queue')) {
        const { delete: ids, clear } = recordOf(line.body)
        for (const [id, place] of places) {
          if (place === 'pending' && (clear === true || listOf(ids).includes(id))) places.delete(id)
        }
      }
      if (line.dir === 'http-response' && line.method === 'GET' && isPath(line, '/queue')) seeQueue(recordOf(line.body))
      if (line.dir === 'http-response' && line.method === 'GET' && /history/.test(String(line.path))) {
        for (const id of Object.keys(recordOf(line.body))) if (known.has(id) && places.has(id)) finish(id)
      }
      const { prompt_id: id, node } = dataOf(line)
      if (line.dir !== 'ws-recv' || typeof id !== 'string') return
      if (recordOf(line.body).type === 'executing' && node === null) finish(id)
      else if (!entries.has(id)) places.set(id, 'running')
    }
  }
}

const frameOf = (line: Line): Buffer => {
  if (typeof line.base64 === 'string') return Buffer.from(line.base64, 'base64')
  const frame = Buffer.alloc(Number(line.length))
  Buffer.from(String(line.head), 'hex').copy(frame)
  return frame
}

/**
 * A ComfyUI that says what a recording says: `play` walks its lines, calls `onPost` where the recorded client posted a prompt, waits for that
 * POST to arrive (a JSON body with the line's `index`), and answers it where the recording does. Frames go to whoever is connected;
 * queue and history stand as they stood at that line. Pauses are cut to milliseconds.
 */
export const createReplay = async ({ lines }: Recording) => {
  const ledger = createLedger(lines)
  const posts = new Map<number, { arrived: () => void; answer?: ServerResponse }>()
  const clients = new Set<WebSocket>()
  const connections = new Set<Socket>()
  const hasSockets = lines.some(line => line.dir === 'ws-open' && line.ok === true)
  const http = createServer((request, response) => void serve(request, response))
  const sockets = new WebSocketServer({ noServer: true })
  http.on('connection', socket => {
    connections.add(socket)
    socket.on('close', () => connections.delete(socket))
  })
  http.on('upgrade', (request, socket, head) => {
    if (!hasSockets) return socket.end('HTTP/1.1 404 Not Found\r\n\r\n')
    sockets.handleUpgrade(request, socket, head, client => {
      clients.add(client)
      client.on('close', () => clients.delete(client))
      send({ type: 'status', data: { status: { exec_info: { queue_remaining: 0 } }, sid: 'x' } })
    })
  })
  const listen = (port: number) => new Promise<void>(done => http.listen(port, '127.0.0.1', () => done()))
  await listen(0)
  const { port } = http.address() as AddressInfo

  const send = (body: unknown): void => {
    for (const client of clients)
      client.send(typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body))
  }
  const queueOf = (place: Place) =>
    [...ledger.places].filter(([, at]) => at === place).map(([id], index) => [index, id, {}, {}, []])

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const { method, url = '' } = request
    const json = (value: unknown) => response.setHeader('content-type', 'application/json').end(JSON.stringify(value))
    if (method === 'POST' && url === '/prompt') {
      const post = posts.get(JSON.parse(Buffer.concat(chunks).toString()).index)!
      post.answer = response
      post.arrived()
      return
    }
    if (url === '/queue' && method === 'GET')
      json({ queue_running: queueOf('running'), queue_pending: queueOf('pending') })
    else if (url.startsWith('/history/')) {
      const id = decodeURIComponent(url.slice('/history/'.length))
      json(ledger.entries.has(id) ? { [id]: ledger.entries.get(id) } : {})
    } else if (url === '/system_stats') json({ system: { comfyui_version: '0.3.64' }, devices: [] })
    else if (url.startsWith('/api/jobs/')) response.writeHead(405).end('405: Method Not Allowed')
    else response.end()
  }

  const die = async (): Promise<void> => {
    ledger.reset()
    for (const connection of connections) connection.destroy()
    if (http.listening) await new Promise(done => http.close(done))
  }

  const step = async (line: Line, index: number, onPost: (post: RecordedPost) => boolean): Promise<void> => {
    const post = allPosts.find(one => one.index === index)
    if (post && post.status > 0) {
      await new Promise<void>((arrived, failed) => {
        const timer = setTimeout(() => failed(new Error(`nobody posted ${post.promptId}`)), postDeadlineMs)
        const done = () => {
          clearTimeout(timer)
          arrived()
        }
        posts.set(index, { arrived: done })
        if (!onPost(post)) done()
      })
    }
    if (line.dir === 'ws-close' && line.by === 'server') await die()
    if (line.dir === 'ws-open' && line.ok === true && !http.listening) await listen(port)
    ledger.see(line)
    if (line.dir === 'http-error') await die()
    if (line.dir === 'http-response' && line.method === 'POST' && isPath(line, '/prompt')) {
      const asked = lines.findIndex(other => other.dir === 'http-request' && other.req === line.req)
      const id = recordOf(line.body).prompt_id
      if (typeof id === 'string' && !ledger.places.has(id) && !ledger.entries.has(id)) ledger.places.set(id, 'pending')
      posts.get(asked)?.answer?.writeHead(Number(line.status)).end(textOf(line))
    }
    const isTwin = recordOf(line.body).type === 'status' && !String(line.conn).startsWith('A')
    if (line.dir === 'ws-recv' && !isTwin && dataOf(line).sid === undefined) send(textOf(line))
    if (line.dir === 'ws-recv-binary' && String(line.conn).startsWith('A')) send(frameOf(line))
  }

  const allPosts = postsOf({ lines, prompts: {} })
  return {
    url: `http://127.0.0.1:${port}`,
    play: async (onPost: (post: RecordedPost) => boolean): Promise<void> => {
      let lastMs = 0
      for (const [index, line] of lines.entries()) {
        const gapMs = Math.min(maxGapMs, line.t - lastMs)
        if (gapMs > 1) await pause(gapMs)
        lastMs = line.t
        await step(line, index, onPost)
      }
    },
    close: async (): Promise<void> => {
      await die()
      sockets.close()
    }
  }
}
