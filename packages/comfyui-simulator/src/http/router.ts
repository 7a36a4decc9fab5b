import { empty, internalError, methodNotAllowed, noSuchFile, type Reply, text } from './reply.ts'
import { BodyTooLarge, type Request } from './request.ts'

/** Answers one request. What it throws becomes a 500, as in aiohttp. */
export type Handler = (request: Request) => Reply | Promise<Reply>

/** A method, a path whose `{}` parts become `params`, and its handler. */
export type Route = [method: string, path: string, handler: Handler]

interface Place {
  pattern: RegExp
  handlers: Map<string, Handler>
}

/** Finds the handler of a request. Paths exist plain and under `/api`, except `/internal` and our own. */
export function createRouter(routes: Route[], maxBodyBytes: number): Handler {
  const places = new Map<string, Place>()
  for (const [method, path, handler] of routes) {
    const twins = /^\/(internal|simulator)\b/.test(path) || path === '/' ? [path] : [path, `/api${path}`]
    for (const twin of twins) placeOf(places, twin).handlers.set(method, handler)
  }

  return async request => {
    if (request.path.startsWith('//')) return text('404: Not Found', 404)
    const place = [...places.values()].find(({ pattern }) => pattern.test(request.path))
    const method = request.method === 'HEAD' ? 'GET' : request.method
    const handler = place?.handlers.get(method)
    if (!handler) return withoutHandler(request.method, place)
    const params = (place?.pattern.exec(request.path) ?? []).slice(1).map(decode)
    return answer(handler, { ...request, params }, maxBodyBytes)
  }
}

function placeOf(places: Map<string, Place>, path: string): Place {
  const known = places.get(path)
  if (known) return known
  const source = path.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replaceAll('{}', '([^/]+)')
  const place: Place = { pattern: new RegExp(`^${source}$`), handlers: new Map() }
  places.set(path, place)
  return place
}

function withoutHandler(method: string, place: Place | undefined): Reply {
  if (method === 'GET') return noSuchFile()
  if (method === 'HEAD') return { status: 404, headers: {} }
  if (method === 'OPTIONS') return empty()
  return methodNotAllowed(new Set(['GET', 'HEAD', ...(place?.handlers.keys() ?? [])]))
}

async function answer(handler: Handler, request: Request, maxBodyBytes: number): Promise<Reply> {
  try {
    return await handler(request)
  } catch (error) {
    if (error instanceof BodyTooLarge) return text(`Maximum request body size ${maxBodyBytes} exceeded.`, 413)
    return internalError()
  }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
