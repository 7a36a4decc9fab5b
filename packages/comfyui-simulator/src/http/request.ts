import type { IncomingMessage } from 'node:http'
import { type Json, parsePythonJson } from '../json/python-json.ts'

/** Thrown when a body is larger than the server takes. */
export class BodyTooLarge extends Error {}

/** One HTTP request with its path taken apart. */
export interface Request {
  method: string
  path: string
  query: URLSearchParams
  params: string[]
  headers: IncomingMessage['headers']
  body(): Promise<Buffer>
  /** The body as Python's `json.loads` reads it, whatever its content type. Throws SyntaxError. */
  json(): Promise<Json>
}

/** Wraps a node request; the body is read once and limited to `maxBytes`. */
export function createRequest(incoming: IncomingMessage, maxBytes: number): Request {
  const [path = '/', query = ''] = splitOnce(incoming.url ?? '/', '?')
  let bytes: Promise<Buffer> | undefined
  const body = () => {
    bytes ??= readBody(incoming, maxBytes)
    return bytes
  }
  return {
    method: incoming.method ?? 'GET',
    path,
    query: new URLSearchParams(query),
    params: [],
    headers: incoming.headers,
    body,
    json: async () => parsePythonJson((await body()).toString('utf8'))
  }
}

function splitOnce(text: string, mark: string): string[] {
  const at = text.indexOf(mark)
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)]
}

async function readBody(incoming: IncomingMessage, maxBytes: number): Promise<Buffer> {
  if (Number(incoming.headers['content-length'] ?? 0) > maxBytes) {
    incoming.resume()
    throw new BodyTooLarge()
  }
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of incoming) {
    size += (chunk as Buffer).length
    if (size > maxBytes) throw new BodyTooLarge()
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks)
}
