import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type Caller, requireScope } from './caller.ts'
import { Refusal } from './problems.ts'
import { type Allowance, tellAllowance } from './rate-limit.ts'
import { requireSameOrigin, sessionTokenOf } from './session-cookie.ts'
import './fastify-additions.ts'

/** What a presented key, or a session that was opened with one, is worth. */
export type KeyVerdict =
  | { readonly kind: 'valid'; readonly caller: Caller; readonly keyName: string }
  | { readonly kind: 'malformed' | 'unknown' | 'revoked' | 'expired' | 'ended' }

/** Knows keys and counts requests; where it is given to a server, nothing is served without a key but what is open to anybody. */
export type Access = {
  readonly judge: (key: string) => Promise<KeyVerdict>
  /** Judges the token of a signed-in browser. */
  readonly judgeSession: (token: string) => Promise<KeyVerdict>
  /** Counts a request of a tenant; undefined where it has no limit. */
  readonly meter: (tenant: string) => Promise<(Allowance & { readonly allowed: boolean }) | undefined>
}

const details = {
  missing: 'Send an API key: Authorization: Bearer <key>',
  malformed: 'This is not an API key of this service: it has another form, or was mistyped',
  unknown: 'There is no such API key',
  revoked: 'This API key was revoked',
  expired: 'This API key has expired',
  ended: 'The session has ended; sign in again'
} as const

/** Checks key, scope and rate of every request before anything of it is read. A route under /api that declares no scope needs `admin`. */
export const requireKeys = (app: FastifyInstance, access: Access): void => {
  app.addHook('onRequest', async (request, reply) => {
    const scope = scopeOf(request)
    if (scope === null) return
    const { caller, keyName } = await identify(access, request, reply)
    request.caller = caller
    request.log = request.log.child({ tenant: caller.tenant, keyName })
    challengeFor(reply, caller.may(scope) ? undefined : `error="insufficient_scope", scope="${scope}"`)
    requireScope(caller, scope)
    await count(access, caller, reply)
  })
}

const scopeOf = ({ routeOptions }: FastifyRequest) =>
  routeOptions.config.scope === undefined && routeOptions.url?.startsWith('/api/')
    ? 'admin'
    : (routeOptions.config.scope ?? null)

const identify = async (access: Access, request: FastifyRequest, reply: FastifyReply) => {
  const verdict = await verdictOn(access, request)
  if (verdict.kind === 'valid') return verdict
  challengeFor(reply, verdict.kind === 'missing' ? '' : 'error="invalid_token"')
  request.log.warn({ reason: verdict.kind }, 'caller not authenticated')
  throw new Refusal('unauthenticated', details[verdict.kind])
}

/** The API key of a request. */
export const bearerOf = ({ headers }: Pick<FastifyRequest, 'headers'>): string | undefined =>
  /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1]

/** A key counts before a cookie: who sends one means it. */
const verdictOn = async (access: Access, request: FastifyRequest): Promise<KeyVerdict | { kind: 'missing' }> => {
  const key = bearerOf(request)
  if (key !== undefined) return access.judge(key)
  const token = request.headers.authorization === undefined ? sessionTokenOf(request) : undefined
  if (token === undefined) return { kind: 'missing' }
  requireSameOrigin(request)
  return access.judgeSession(token)
}

/** Says how to authenticate (RFC 6750); nothing when there is nothing wrong. */
const challengeFor = (reply: FastifyReply, fault: string | undefined): void => {
  if (fault === undefined) return
  reply.header('www-authenticate', `Bearer realm="comfy-balancer"${fault && ', '}${fault}`)
}

const count = async (access: Access, { tenant }: Caller, reply: FastifyReply): Promise<void> => {
  const allowance = await access.meter(tenant)
  if (!allowance) return
  tellAllowance(reply, allowance)
  if (allowance.allowed) return
  const { limit, resetSeconds } = allowance
  throw new Refusal('rate-limited', `More than ${limit} requests a minute`, { retryAfterSeconds: resetSeconds })
}
