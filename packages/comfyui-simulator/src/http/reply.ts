import { stringifyPythonJson } from '../json/python-json.ts'

/** An answer to an HTTP request. Without a body nothing is sent but the headers. */
export interface Reply {
  status: number
  headers: Record<string, string>
  body?: Buffer
  /** Sent in chunks without a length, as aiohttp sends file answers that failed. */
  isChunked?: boolean
  /** Raised past ComfyUI's middlewares in the original, so that it goes without CORS headers. */
  isRaised?: boolean
}

/** A JSON answer in Python's spelling. */
export function json(value: unknown, status = 200): Reply {
  return {
    status,
    headers: { 'Content-Type': 'application/json; charset=utf-8' },
    body: Buffer.from(stringifyPythonJson(value))
  }
}

/** An answer without body and content type. */
export function empty(status = 200): Reply {
  return { status, headers: {}, body: Buffer.alloc(0) }
}

/** A plain text answer, as aiohttp words what handlers and routers raise. */
export function text(value: string, status: number, headers: Record<string, string> = {}): Reply {
  const plain = { 'Content-Type': 'text/plain; charset=utf-8', ...headers }
  return { status, headers: plain, body: Buffer.from(value), isRaised: true }
}

/** What aiohttp answers when a handler raised. */
export function internalError(): Reply {
  return text('500 Internal Server Error\n\nServer got itself in trouble', 500, { Connection: 'close' })
}

/** What the static catch-all answers for a path it has no file for. */
export function noSuchFile(): Reply {
  return { status: 404, headers: { 'Content-Type': 'application/octet-stream' }, isChunked: true }
}

/** What aiohttp answers for a method a path does not take. */
export function methodNotAllowed(allowed: Iterable<string>): Reply {
  return text('405: Method Not Allowed', 405, { Allow: [...allowed].sort().join(',') })
}
