import { getTenant, putTenant } from '@comfy-balancer/contract/endpoints/tenants'
import type { Tenant } from '@comfy-balancer/contract/tenant'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import { fromLedger } from './ledger-errors.ts'

/** Adds what operators see and set of tenants. */
export const tenantRoutes = (app: App, { tenants }: Ledger): void => {
  const find = async (name: string): Promise<Tenant> => {
    const tenant = await fromLedger(tenants.find(name))
    if (tenant) return tenant
    throw new Refusal('not-found', `There is no tenant ${name}`)
  }

  route(app, getTenant, request => find(request.params.tenant))

  route(app, putTenant, async request => {
    const { tenant } = request.params
    await fromLedger(tenants.setLimits(tenant, request.body))
    request.log.info({ limitsOf: tenant, limits: request.body }, 'limits set')
    return find(tenant)
  })
}
