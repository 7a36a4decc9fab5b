import { liftQuarantine, listQuarantine } from '@comfy-balancer/contract/endpoints'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import { fromLedger } from './ledger-errors.ts'

/** Adds the workflows in quarantine: listing and lifting. */
export const quarantineRoutes = (app: App, { ledger }: { readonly ledger: Ledger }): void => {
  const listed = async () => ({
    data: (await fromLedger(ledger.quarantine.list())).map(({ sinceMs, untilMs, nodes, ...shown }) => ({
      ...shown,
      nodes: [...nodes],
      since: new Date(sinceMs).toISOString(),
      until: new Date(untilMs).toISOString()
    }))
  })

  route(app, listQuarantine, listed)

  route(app, liftQuarantine, async request => {
    const { fingerprint } = request.params
    const found = (await fromLedger(ledger.quarantine.list())).filter(one => one.fingerprint === fingerprint)
    if (found.length === 0) throw new Refusal('not-found', `No workflow ${fingerprint} is in quarantine`)
    await fromLedger(Promise.all(found.map(one => ledger.quarantine.lift(one.tenant, fingerprint))))
    request.log.info({ fingerprint }, 'workflow pardoned')
    return listed()
  })
}
