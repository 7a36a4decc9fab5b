import { endSession, getSession, openSession } from '@comfy-balancer/contract/endpoints/session'
import { scopes } from '@comfy-balancer/contract/scope'
import type { Session } from '@comfy-balancer/contract/session'
import { bearerOf } from '@comfy-balancer/service-kit/access'
import type { Caller } from '@comfy-balancer/service-kit/caller'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import { requireSameOrigin, sessionTokenOf, setSessionCookie } from '@comfy-balancer/service-kit/session-cookie'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import { sessionMs } from '@comfy-balancer/task-store/sessions'
import { fromLedger } from './ledger-errors.ts'

/** Adds signing in and out with a key, for browsers. */
export const sessionRoutes = (app: App, { sessions }: Ledger): void => {
  route(app, openSession, async (request, reply) => {
    const key = bearerOf(request)
    if (key !== undefined && request.caller.keyName !== undefined) {
      setSessionCookie(request, reply, await fromLedger(sessions.open(key)), sessionMs)
      request.log.info('signed in')
    }
    return sessionOf(request.caller)
  })

  route(app, getSession, async (request, reply) => {
    reply.header('cache-control', 'no-store')
    return sessionOf(request.caller)
  })

  route(app, endSession, async (request, reply) => {
    const token = sessionTokenOf(request)
    if (token === undefined) return {}
    requireSameOrigin(request)
    await fromLedger(sessions.end(token))
    setSessionCookie(request, reply, '', 0)
    return {}
  })
}

const sessionOf = ({ tenant, keyName, may }: Caller): Session => ({
  tenant,
  keyName: keyName ?? null,
  scopes: scopes.filter(may)
})
