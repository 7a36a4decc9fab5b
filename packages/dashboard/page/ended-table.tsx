import type { EndedGlance } from '@comfy-balancer/contract/fleet-update'
import { useState } from 'preact/hooks'
import { addressOf } from './api.ts'
import { memo } from './memo.ts'
import { age, duration, modelName, secondsBetween, shortId } from './wording.ts'

type Props = { readonly ended: readonly EndedGlance[]; readonly atMs: number }

const portion = 10

/** The tasks that ended last. */
export const EndedTable = ({ ended, atMs }: Props) => {
  const [shown, setShown] = useState(portion)
  return (
    <section aria-labelledby="ended">
      <h2 id="ended">Lately ended</h2>
      <div class="card table-card">
        {ended.length === 0 ? (
          <p class="quiet empty">
            No task has ended yet. To try one, post a workflow to <code>/api/v1/generate</code>; the{' '}
            <a href="./docs">API page</a> shows how.
          </p>
        ) : (
          <table class="ended">
            <thead>
              <tr>
                <th scope="col">
                  <span class="unseen">Picture</span>
                </th>
                <th scope="col">Task</th>
                <th scope="col">Outcome</th>
                <th scope="col">Node</th>
                <th scope="col" class="right">
                  Attempts
                </th>
                <th scope="col" class="right">
                  Waited
                </th>
                <th scope="col" class="right">
                  Ran
                </th>
                <th scope="col" class="right">
                  Ended
                </th>
              </tr>
            </thead>
            <tbody>
              {ended.slice(0, shown).map(task => (
                <Row key={task.id} task={task} ago={ago(task, atMs)} />
              ))}
            </tbody>
          </table>
        )}
        {ended.length > shown && (
          <button type="button" class="more" onClick={() => setShown(shown + portion)}>
            Show more
          </button>
        )}
      </div>
    </section>
  )
}

const ago = ({ finishedAt }: EndedGlance, atMs: number): string => `${age(secondsBetween(finishedAt, atMs))} ago`

const Row = memo(({ task, ago }: { readonly task: EndedGlance; readonly ago: string }) => (
  <tr>
    <td class="picture">
      {task.picture ? (
        <img src={addressOf(task.picture)} alt="" width={36} height={36} loading="lazy" decoding="async" />
      ) : (
        <span class="no-picture" />
      )}
    </td>
    <td data-label="Task">
      <a class="number" href={`#/tasks/${task.id}`}>
        {shortId(task.id)}
      </a>
      <span class="quiet cut models">{task.models.map(modelName).join(', ')}</span>
    </td>
    <td data-label="Outcome">
      <span class={`state state-${task.state}`}>{task.state}</span>
      {task.error && <span class="quiet cut models">{task.error}</span>}
    </td>
    <td data-label="Node">{task.node ?? '–'}</td>
    <td data-label="Attempts" class="right number">
      {task.attempt}
    </td>
    <td data-label="Waited" class="right number">
      {task.queuedSeconds === null ? '–' : duration(task.queuedSeconds)}
    </td>
    <td data-label="Ran" class="right number">
      {task.ranSeconds === null ? '–' : duration(task.ranSeconds)}
    </td>
    <td data-label="Ended" class="right number">
      {ago}
    </td>
  </tr>
))
