import type { FastifyReply, FastifyRequest } from 'fastify'
import { Refusal } from './problems.ts'

const name = 'cb_session'
const reading = new Set(['GET', 'HEAD', 'OPTIONS'])

/** The token in a browser's session cookie. */
export const sessionTokenOf = ({ headers }: Pick<FastifyRequest, 'headers'>): string | undefined =>
  new RegExp(`(?:^|;\\s*)${name}=([A-Za-z0-9_-]{43})(?:;|$)`).exec(headers.cookie ?? '')?.[1]

/**
 * Gives the browser a session's token, or takes it away with a lifetime of 0. Without a Path the cookie is sent to where this request went,
 * which is right behind a path prefix too.
 */
export const setSessionCookie = (
  request: FastifyRequest,
  reply: FastifyReply,
  token: string,
  lifetimeMs: number
): void => {
  const isSecure = request.protocol === 'https' || request.headers['x-forwarded-proto'] === 'https'
  const flags = `HttpOnly; SameSite=Strict${isSecure ? '; Secure' : ''}`
  reply.header('set-cookie', `${name}=${token}; Max-Age=${Math.round(lifetimeMs / 1000)}; ${flags}`)
}

/**
 * Throws a Refusal for a request that changes something and was not made by a page of this very origin: browsers add cookies by
 * themselves. Browsers say where a request comes from by Sec-Fetch-Site, beyond https and loopback by Origin alone.
 */
export const requireSameOrigin = ({ method, headers }: Pick<FastifyRequest, 'method' | 'headers'>): void => {
  if (reading.has(method)) return
  const site = headers['sec-fetch-site']
  if (site === undefined ? isOwnHost(headers) : site === 'same-origin') return
  throw new Refusal('forbidden', 'A session counts only for pages of this service; others send an API key')
}

const isOwnHost = ({ origin, host, 'x-forwarded-host': forwarded }: FastifyRequest['headers']): boolean => {
  if (origin === undefined || !URL.canParse(origin)) return false
  const from = new URL(origin).host
  return from === host || from === forwarded
}
