import type { FleetTotals, QueueGlance } from '@comfy-balancer/contract/fleet-update'
import { useState } from 'preact/hooks'
import { age, count, modelName, secondsBetween } from './wording.ts'

type Props = { readonly queues: readonly QueueGlance[]; readonly totals: FleetTotals; readonly atMs: number }

const portion = 12

/** What waits, by tenant and by the models it needs. */
export const QueueTable = ({ queues, totals, atMs }: Props) => {
  const [isAll, setAll] = useState(false)
  const shown = isAll ? queues : queues.slice(0, portion)
  const listed = queues.reduce((sum, { waiting }) => sum + waiting, 0)
  return (
    <section aria-labelledby="queue">
      <h2 id="queue">Waiting</h2>
      <div class="card table-card">
        {queues.length === 0 ? (
          <p class="quiet empty">
            {totals.queued === 0 ? 'Nothing waits: every task has a node.' : 'What waits belongs to other tenants.'}
          </p>
        ) : (
          <table>
            <thead>
              <tr>
                <th scope="col">Tenant</th>
                <th scope="col">Models</th>
                <th scope="col" class="right">
                  Tasks
                </th>
                <th scope="col" class="right">
                  First waits
                </th>
              </tr>
            </thead>
            <tbody>
              {shown.map(queue => (
                <tr key={`${queue.tenant} ${queue.models.join(' ')}`}>
                  <td data-label="Tenant">{queue.tenant}</td>
                  <td data-label="Models">{queue.models.map(modelName).join(', ') || 'none'}</td>
                  <td data-label="Tasks" class="right number">
                    {count(queue.waiting)}
                  </td>
                  <td data-label="First waits" class="right number">
                    {queue.foremostAt ? age(secondsBetween(queue.foremostAt, atMs)) : '–'}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
        {queues.length > portion && (
          <button type="button" class="more" onClick={() => setAll(!isAll)}>
            {isAll ? 'Show fewer' : `Show all ${queues.length} queues`}
          </button>
        )}
        {totals.queued > listed && listed > 0 && (
          <p class="quiet">and {count(totals.queued - listed)} tasks in further queues</p>
        )}
        {totals.delayed > 0 && <p class="quiet">{count(totals.delayed)} more are paused after a failed attempt.</p>}
      </div>
    </section>
  )
}
