import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { pipeline } from 'node:stream/promises'
import type { WireAnswer, WireRequest } from './request.ts'

const answerWithinMs = 60_000
const maxReadBytes = 4 * 1024 * 1024
/** An event stream stays open for as long as its task runs; its beginning tells enough. */
const streamMs = 200

/** Sends requests to one service over a few connections that stay open. */
export type Sender = {
  readonly send: (request: WireRequest) => Promise<WireAnswer>
  readonly close: () => void
}

export const createSender = (baseUrl: string): Sender => {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })
  const { hostname, port } = new URL(baseUrl)
  return {
    send: request =>
      new Promise((resolve, reject) => {
        const { method, target, headers, body } = request
        const length = body === undefined ? {} : { 'content-length': String(body.length) }
        const options = { agent, hostname, port, method, path: target, headers: { ...length, ...headers } }
        const call = httpRequest({ ...options, timeout: answerWithinMs })
        let answered = false
        call.once('response', response => {
          answered = true
          read(response).then(resolve, reject)
        })
        call.once('upgrade', (response, socket) => {
          socket.destroy()
          resolve({ status: response.statusCode ?? 0, headers: {}, body: Buffer.of() })
        })
        call.once('timeout', () => call.destroy(new Error(`no answer within ${answerWithinMs} ms`)))
        call.on('error', error => (answered ? undefined : reject(error)))
        call.end(body)
      }),
    close: () => agent.destroy()
  }
}

const read = async (response: IncomingMessage): Promise<WireAnswer> => {
  const parts: Buffer[] = []
  let bytes = 0
  const isStream = response.headers['content-type']?.startsWith('text/event-stream') ?? false
  const timer = isStream ? setTimeout(() => response.destroy(), streamMs) : undefined
  try {
    await pipeline(response, async source => {
      for await (const part of source as AsyncIterable<Buffer>) {
        bytes += part.length
        if (bytes <= maxReadBytes) parts.push(part)
      }
    })
  } catch (error) {
    if (!isStream) throw error
  } finally {
    clearTimeout(timer)
  }
  const headers = Object.entries(response.headers).map(([name, value]) => [name, [value].flat().join(', ')])
  return { status: response.statusCode ?? 0, headers: Object.fromEntries(headers), body: Buffer.concat(parts) }
}
