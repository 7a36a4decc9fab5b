import { liftQuarantine, listQuarantine } from '@comfy-balancer/contract/endpoints/fleet'
import type { Caller } from '@comfy-balancer/service-kit/caller'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import { fromLedger } from './ledger-errors.ts'

/** Adds the workflows in quarantine: listing and lifting; those of other tenants for operators alone. */
export const quarantineRoutes = (app: App, { ledger }: { readonly ledger: Ledger }): void => {
  const visible = (caller: Caller) =>
    fromLedger(ledger.quarantine.list(caller.may('admin') ? undefined : caller.tenant))

  const listed = async (caller: Caller) => ({
    data: (await visible(caller)).map(({ sinceMs, untilMs, nodes, ...shown }) => ({
      ...shown,
      nodes: [...nodes],
      since: new Date(sinceMs).toISOString(),
      until: new Date(untilMs).toISOString()
    }))
  })

  route(app, listQuarantine, request => listed(request.caller))

  route(app, liftQuarantine, async request => {
    const { fingerprint } = request.params
    const found = (await visible(request.caller)).filter(one => one.fingerprint === fingerprint)
    if (found.length === 0) throw new Refusal('not-found', `No workflow ${fingerprint} is in quarantine`)
    await fromLedger(Promise.all(found.map(one => ledger.quarantine.lift(one.tenant, fingerprint))))
    request.log.info({ fingerprint }, 'workflow pardoned')
    return listed(request.caller)
  })
}
