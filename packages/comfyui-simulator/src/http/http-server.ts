import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { isForeignOrigin } from './origin.ts'
import { empty, type Reply } from './reply.ts'
import { createRequest } from './request.ts'
import type { Handler } from './router.ts'

/** How the server listens and whom it lets in. */
export interface HttpServerOptions {
  maxBodyBytes: number
  /** With an origin, CORS headers are sent and foreign origins are let in, as with `--enable-cors-header`. */
  corsOrigin?: string | undefined
}

/** What the server hands its requests and sockets to. */
export interface HttpServerDeps {
  handle: Handler
  onSocket(socket: WebSocket, clientId: string | null): void
}

/** An HTTP server that answers like aiohttp, with WebSockets at `/ws` and `/api/ws`. */
export interface ComfyHttpServer {
  listen(port: number, host: string): Promise<number>
  /** Ends every connection at once and stops listening. */
  close(): Promise<void>
  dropConnections(): void
}

const serverName = 'Python/3.11 aiohttp/3.14.3'
const maxFrameBytes = 4 * 1024 * 1024

/** Creates the server; it listens once told to. */
export function createHttpServer(options: HttpServerOptions, deps: HttpServerDeps): ComfyHttpServer {
  const cors = corsHeaders(options.corsOrigin)
  const server = createServer({ keepAliveTimeout: 75_000 }, (incoming, response) => {
    void respond(incoming, response, options, deps).then(reply => send(incoming, response, reply, cors))
  })
  const sockets = new WebSocketServer({ noServer: true, maxPayload: maxFrameBytes, perMessageDeflate: true })
  sockets.on('headers', headers => headers.push(`Server: ${serverName}`))
  server.on('upgrade', (incoming: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => socket.destroy())
    const { path, query } = createRequest(incoming, 0)
    if (!options.corsOrigin && isForeignOrigin(incoming.headers.host, incoming.headers.origin)) {
      return refuse(socket, '403 Forbidden')
    }
    if (path !== '/ws' && path !== '/api/ws') return refuse(socket, '404 Not Found')
    sockets.handleUpgrade(incoming, socket, head, ws => deps.onSocket(ws, query.get('clientId')))
  })

  return {
    listen: (port, host) => listen(server, port, host),
    dropConnections: () => server.closeAllConnections(),
    close: () =>
      new Promise(resolve => {
        for (const client of sockets.clients) client.terminate()
        server.close(() => resolve())
        server.closeAllConnections()
      })
  }
}

function listen(server: Server, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      const address = server.address()
      resolve(typeof address === 'object' && address ? address.port : port)
    })
  })
}

async function respond(
  incoming: IncomingMessage,
  response: ServerResponse,
  options: HttpServerOptions,
  deps: HttpServerDeps
): Promise<Reply> {
  response.on('error', () => response.destroy())
  if (!options.corsOrigin && isForeignOrigin(incoming.headers.host, incoming.headers.origin)) return empty(403)
  if (incoming.method === 'OPTIONS') return empty()
  return deps.handle(createRequest(incoming, options.maxBodyBytes))
}

function send(incoming: IncomingMessage, response: ServerResponse, reply: Reply, cors: Record<string, string>): void {
  if (response.destroyed) return
  response.removeHeader('Connection')
  response.removeHeader('Keep-Alive')
  if (!reply.isChunked) response.removeHeader('Transfer-Encoding')
  if (reply.isChunked) response.setHeader('Transfer-Encoding', 'chunked')
  response.setHeader('Server', serverName)
  const headers = reply.isRaised ? reply.headers : { ...reply.headers, ...cors }
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
  if (reply.body) response.setHeader('Content-Length', reply.body.length)
  response.statusCode = reply.status
  response.end(incoming.method === 'HEAD' ? undefined : reply.body)
}

function refuse(socket: Socket, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nServer: ${serverName}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`)
}

function corsHeaders(origin: string | undefined): Record<string, string> {
  if (!origin) return {}
  return {
    'Access-Control-Allow-Origin': origin,
    'Access-Control-Allow-Methods': 'POST, GET, DELETE, PUT, OPTIONS',
    'Access-Control-Allow-Headers': 'Content-Type, Authorization',
    'Access-Control-Allow-Credentials': 'true'
  }
}
