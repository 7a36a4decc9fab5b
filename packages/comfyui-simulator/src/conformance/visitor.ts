import { Agent, type IncomingMessage, request } from 'node:http'
import { type RawData, WebSocket } from 'ws'
import { parsePythonJson, stringifyPythonJson } from '../json/python-json.ts'
import { inSentOrder } from './recordings.ts'
import type { Substitutions } from './substitutions.ts'
import type { RecordedPart, TraceLine } from './trace.ts'

/** Where a visitor goes and to whom it tells what it sees. */
export interface VisitorDeps {
  port: number
  substitutions: Substitutions
  tell(line: Omit<TraceLine, 't'>): void
}

const barrierMs = 2000
const padding = 1_200_000

/** Does what the recorded clients did, over real connections, and tells what comes back in the form of a trace. */
export class Visitor {
  readonly #deps: VisitorDeps
  readonly #agent = new Agent({ keepAlive: true })
  readonly #sockets = new Map<string, WebSocket>()

  constructor(deps: VisitorDeps) {
    this.#deps = deps
  }

  /** Sends a recorded request; its answer is told, unless `isAwaited` says that it is not the awaited one: then it is asked again. */
  send(line: TraceLine, isAwaited: (answer: TraceLine) => boolean): void {
    const { conn, req, method, path } = line
    const told = { conn, req, method, path } as Pick<TraceLine, 'conn' | 'req' | 'method' | 'path'>
    const { headers, body } = this.#encode(line)
    const sent = request(
      { agent: this.#agent, host: '127.0.0.1', port: this.#deps.port, method, path: this.#apply(path), headers },
      response =>
        onAnswer(response, answer => {
          const seen = { ...told, dir: 'http-response', ...answer } as TraceLine
          if (isAwaited(seen)) this.#deps.tell(seen)
          else setTimeout(() => this.send(line, isAwaited), pollMs)
        })
    )
    sent.on('error', error => this.#deps.tell({ ...told, dir: 'http-error', error: aiohttpName(error) }))
    sent.end(body)
  }

  open(line: TraceLine): void {
    const { conn = '', path } = line
    const url = `ws://127.0.0.1:${this.#deps.port}${this.#apply(path)}`
    const socket = new WebSocket(url, { headers: this.#headers(line.reqHeaders ?? {}), perMessageDeflate: false })
    const tell = (seen: Partial<TraceLine>) => {
      if (this.#sockets.get(conn) === socket) this.#deps.tell({ conn, ...seen } as TraceLine)
    }
    let isOpened = false
    this.#sockets.set(conn, socket)
    socket.on('open', () => {
      isOpened = true
      tell({ dir: 'ws-open', status: 101, ok: true })
    })
    socket.on('message', (data, isBinary) => tell(messageLine(data as Buffer, isBinary)))
    socket.on('unexpected-response', (_, response) => {
      response.resume()
      tell({ dir: 'ws-open', status: response.statusCode ?? null, ok: false })
      this.#sockets.delete(conn)
    })
    socket.on('error', error => {
      if (isOpened) return
      tell({ dir: 'ws-open', status: null, ok: false, error: aiohttpName(error) })
      this.#sockets.delete(conn)
    })
    socket.on('close', code => {
      tell({ dir: 'ws-close', code, by: 'server' })
      if (this.#sockets.get(conn) === socket) this.#sockets.delete(conn)
    })
  }

  /** Closes a socket, or resets its connection (1006), and tells when that is done. From now on it hears nothing more. */
  close({ conn = '', code = 1000 }: TraceLine): void {
    const socket = this.#sockets.get(conn)
    this.#sockets.delete(conn)
    socket?.once('close', () => this.#deps.tell({ dir: 'ws-close', conn, code, by: 'client' }))
    if (code === 1006) socket?.terminate()
    else socket?.close(code)
  }

  say({ conn = '', body, json }: TraceLine): void {
    this.#sockets.get(conn)?.send(json === false ? String(body) : stringifyPythonJson(body))
  }

  /** Waits until everything the server sent so far has arrived: whatever it sent before the answer to a ping. */
  async catchUp(): Promise<void> {
    const open = [...this.#sockets.values()].filter(socket => socket.readyState === WebSocket.OPEN)
    await Promise.all(open.map(pong))
  }

  /** Ends every connection that is left. */
  end(): void {
    for (const socket of this.#sockets.values()) socket.terminate()
    this.#sockets.clear()
    this.#agent.destroy()
  }

  #apply(text: string | undefined): string {
    return this.#deps.substitutions.apply(text ?? '/')
  }

  #headers(recorded: Record<string, string>): Record<string, string> {
    return Object.fromEntries(Object.entries(recorded).map(([name, value]) => [name, this.#apply(value)]))
  }

  #encode(line: TraceLine): { headers: Record<string, string>; body?: Buffer } {
    const headers = this.#headers(line.headers ?? {})
    if (line.parts) {
      const boundary = 'conformance-boundary'
      headers['Content-Type'] = `multipart/form-data; boundary=${boundary}`
      return { headers, body: multipart(line.parts, boundary) }
    }
    if (line.body === undefined) return { headers }
    const text = line.raw ?? (line.json === false ? String(line.body) : stringifyPythonJson(line.body))
    const isCut = line.label?.includes('padding cut out') === true
    const body = Buffer.from(this.#apply(text) + (isCut ? ' '.repeat(padding) : ''))
    return { headers: { ...headers, 'Content-Length': String(body.length) }, body }
  }
}

const pollMs = 5

function messageLine(data: Buffer, isBinary: boolean): Partial<TraceLine> {
  if (isBinary) return { dir: 'ws-recv-binary', event: data.readUInt32BE(0), length: data.length }
  const text = String(data as RawData)
  return { dir: 'ws-recv', body: inSentOrder(parsePythonJson(text), text) }
}

function onAnswer(response: IncomingMessage, tell: (answer: Partial<TraceLine>) => void): void {
  const chunks: Buffer[] = []
  response.on('data', chunk => chunks.push(chunk as Buffer))
  response.on('end', () => tell(answerLine(response, Buffer.concat(chunks).toString('utf8'))))
}

function answerLine(response: IncomingMessage, text: string): Partial<TraceLine> {
  const pairs = Array.from({ length: response.rawHeaders.length / 2 }, (_, at) => response.rawHeaders.slice(2 * at))
  const headers = Object.fromEntries(pairs.filter(([name]) => name !== 'Date').map(([name, value]) => [name!, value!]))
  const isJson = response.headers['content-type']?.startsWith('application/json') === true && text !== ''
  return { status: response.statusCode ?? null, headers, body: isJson ? parsePythonJson(text) : '' }
}

function multipart(parts: RecordedPart[], boundary: string): Buffer {
  const chunks = parts.flatMap(({ name, value, filename, contentType, bytes = 0, base64 }) => {
    const file = filename === undefined ? '' : `; filename="${filename}"\r\nContent-Type: ${contentType}`
    const data = base64 === undefined ? Buffer.alloc(bytes) : Buffer.from(base64, 'base64')
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${file}\r\n\r\n`
    return [Buffer.from(head), value === undefined ? data : Buffer.from(value), Buffer.from('\r\n')]
  })
  return Buffer.concat([...chunks, Buffer.from(`--${boundary}--\r\n`)])
}

/** The name that the recorder's client library gives a failed connection. */
function aiohttpName(error: Error & { code?: string }): string {
  return error.code === 'ECONNREFUSED' ? 'ClientConnectorError' : 'ServerDisconnectedError'
}

function pong(socket: WebSocket): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(resolve, barrierMs)
    const done = () => {
      clearTimeout(timer)
      resolve()
    }
    socket.once('pong', done)
    socket.once('close', done)
    socket.ping()
  })
}
