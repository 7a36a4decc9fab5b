import { Notice } from './app.tsx'
import { EndedTable } from './ended-table.tsx'
import { FleetLine } from './fleet-line.tsx'
import { may, useFleet } from './fleet-store.ts'
import { NodeGrid } from './node-grid.tsx'
import { QueueTable } from './queue-table.tsx'
import { Verdict } from './verdict.tsx'

/** The fleet on one page. */
export const FleetPage = () => {
  const fleet = useFleet()
  if (!fleet.totals && fleet.connection === 'lost') {
    return <Notice title="The balancer does not answer">This page tries again every few seconds.</Notice>
  }
  if (!fleet.totals) return <p class="quiet loading">Asking the balancer …</p>
  return (
    <div class={fleet.connection === 'live' ? 'fleet' : 'fleet stale'}>
      <Verdict fleet={fleet} totals={fleet.totals} />
      <FleetLine totals={fleet.totals} atMs={fleet.atMs} />
      <NodeGrid
        nodes={fleet.nodes}
        history={fleet.history}
        atMs={fleet.atMs}
        mayManage={may(fleet, 'nodes:write')}
        mayWatch={may(fleet, 'tasks:read')}
      />
      <div class="columns">
        <QueueTable queues={fleet.queues} totals={fleet.totals} atMs={fleet.atMs} />
        <EndedTable ended={fleet.ended} atMs={fleet.atMs} />
      </div>
    </div>
  )
}
