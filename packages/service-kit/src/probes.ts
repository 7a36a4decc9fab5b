import { livez, readyz } from '@comfy-balancer/contract/endpoints/probes'
import type { Health } from '@comfy-balancer/contract/probe'
import type { FastifyInstance } from 'fastify'
import { route } from './route.ts'

/** Looks at one thing that the service needs. `detail` is shown to anybody: no addresses, no versions. */
export type Check = () => Promise<{ readonly ok: boolean; readonly detail?: string }>

/** Lets a service say that it is going away. */
export type Probes = { drain(): void; isDraining(): boolean }

const checkMs = 1000
const cacheMs = 1000

/**
 * Adds `/livez`, which touches nothing, and `/readyz`, which runs every check for at most 1 s and keeps the answer for 1 s. After
 * `drain` readiness is 503.
 */
export const probes = (app: FastifyInstance, checks: Readonly<Record<string, Check>>): Probes => {
  let isDraining = false
  let cached: { atMs: number; health: Promise<Health> } | undefined
  const readiness = (): Promise<Health> => {
    const nowMs = performance.now()
    if (cached === undefined || nowMs - cached.atMs > cacheMs) cached = { atMs: nowMs, health: runChecks(checks) }
    return cached.health
  }
  route(app, livez, async (_request, reply) => {
    reply.header('cache-control', 'no-store')
    return { status: 'ok' as const, checks: {} }
  })
  route(app, readyz, async (_request, reply) => {
    const health = isDraining ? draining : await readiness()
    reply.header('cache-control', 'no-store')
    if (health.status !== 'ok') reply.code(503).header('retry-after', '1')
    return health
  })
  return {
    drain: () => {
      isDraining = true
    },
    isDraining: () => isDraining
  }
}

const draining: Health = {
  status: 'unavailable',
  checks: { draining: { status: 'unavailable', detail: 'shutting down' } }
}

const runChecks = async (checks: Readonly<Record<string, Check>>): Promise<Health> => {
  const entries = await Promise.all(
    Object.entries(checks).map(async ([name, check]) => [name, await runCheck(check)] as const)
  )
  const isReady = entries.every(([, result]) => result.status === 'ok')
  return { status: isReady ? 'ok' : 'unavailable', checks: Object.fromEntries(entries) }
}

const runCheck = async (check: Check): Promise<Health['checks'][string]> => {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<{ ok: boolean; detail: string }>(resolve => {
    timer = setTimeout(resolve, checkMs, { ok: false, detail: `no answer within ${checkMs} ms` })
  })
  const work = check().catch(() => ({ ok: false, detail: 'the check failed' }))
  const { ok, detail } = await Promise.race([work, limit])
  clearTimeout(timer)
  return { status: ok ? 'ok' : 'unavailable', ...(detail !== undefined && { detail }) }
}
