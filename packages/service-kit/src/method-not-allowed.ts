import type { FastifyInstance } from 'fastify'
import { pathOf, Refusal } from './problems.ts'

/**
 * Tells an address that does not exist (404) from one that does not take this method (405 with `Allow`). It answers before the body
 * is read. Fastify can be asked only for route patterns, not for addresses, so the patterns are matched here.
 */
export const refuseUnknownRoutes = (app: FastifyInstance): void => {
  const routes: { method: string; matches: RegExp }[] = []
  app.addHook('onRoute', route => {
    for (const method of [route.method].flat()) routes.push({ method, matches: toRegExp(route.url) })
  })
  app.addHook('onRequest', async (request, reply) => {
    if (!request.is404) return
    const path = pathOf(request.url)
    const allowed = [...new Set(routes.filter(route => route.matches.test(path)).map(route => route.method))].sort()
    if (allowed.length === 0) throw new Refusal('not-found', `There is nothing at ${path.slice(0, 200)}`)
    reply.header('allow', allowed.join(', '))
    throw new Refusal('method-not-allowed', `${request.method} is not taken here; ${allowed.join(', ')} is`)
  })
  app.setNotFoundHandler(async request => {
    throw new Refusal('not-found', `There is nothing at ${pathOf(request.url).slice(0, 200)}`)
  })
}

const toRegExp = (pattern: string): RegExp => {
  const parts = pattern.split(/(:[A-Za-z0-9_]+|\*)/)
  const source = parts.map(part => (part === '*' ? '.*' : part.startsWith(':') ? '[^/]+' : escapeRegExp(part)))
  return new RegExp(`^${source.join('')}$`)
}

const escapeRegExp = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
