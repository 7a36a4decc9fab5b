import { readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import type { FastifyReply, FastifyRequest } from 'fastify'
import './fastify-additions.ts'
import { Refusal } from './problems.ts'
import type { App } from './server.ts'

const mediaTypes: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml'
}

/** Nothing but our own files and our own API: no inline script or style, no other host, no frame. */
const contentSecurityPolicy = [
  "default-src 'none'",
  ...['script-src', 'style-src', 'connect-src', 'media-src'].map(name => `${name} 'self'`),
  "img-src 'self' data: blob:",
  ...['base-uri', 'form-action', 'frame-ancestors'].map(name => `${name} 'none'`)
].join('; ')

type PageFile = { readonly mediaType: string; readonly bytes: Buffer; readonly gzipped: Buffer }

/**
 * Serves a built page at `/`: index.html and, under `/assets/`, files whose names carry a digest, so that browsers keep them for ever.
 * They are few and small and stay in memory.
 */
export const servePage = (app: App, folder: string): void => {
  const files = readFiles(folder)

  app.get('/', { schema: { hide: true }, config: { scope: null } }, (request, reply) => {
    const page = files.get('index.html')
    if (!page) throw new Refusal('not-found', 'The page was not built: run npm run build. The API is at /docs')
    reply
      .header('content-security-policy', contentSecurityPolicy)
      .header('referrer-policy', 'no-referrer')
      .header('cache-control', 'no-cache')
    return send(request, reply, page)
  })

  app.get<{ Params: { name: string } }>(
    '/assets/:name',
    { schema: { hide: true }, config: { scope: null } },
    (request, reply) => {
      const file = files.get(`assets/${request.params.name}`)
      if (!file) throw new Refusal('not-found', 'The page has no such file; load it again')
      reply.header('cache-control', 'public, max-age=31536000, immutable')
      return send(request, reply, file)
    }
  )
}

const readFiles = (folder: string): Map<string, PageFile> => {
  const read = (name: string): [string, PageFile][] => {
    const mediaType = mediaTypes[extname(name)]
    if (!mediaType) return []
    const bytes = readFileSync(join(folder, name))
    return [[name, { mediaType, bytes, gzipped: gzipSync(bytes) }]]
  }
  const names = (sub: string): string[] => {
    try {
      return readdirSync(join(folder, sub)).map(name => (sub ? `${sub}/${name}` : name))
    } catch {
      return []
    }
  }
  return new Map([...names(''), ...names('assets')].flatMap(read))
}

const send = (request: FastifyRequest, reply: FastifyReply, { mediaType, bytes, gzipped }: PageFile): FastifyReply => {
  reply.type(mediaType).header('vary', 'accept-encoding')
  if (!/\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''))) return reply.send(bytes)
  return reply.header('content-encoding', 'gzip').send(gzipped)
}
