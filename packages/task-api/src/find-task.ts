import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { FoundTask } from '@comfy-balancer/task-store/tasks'
import { defaultTenant, type TaskApiDeps } from './deps.ts'
import { fromLedger } from './ledger-errors.ts'

/** The record of a task, or a Refusal: `gone` past its retention, `not-found` otherwise. */
export const findTask = async (deps: TaskApiDeps, id: string): Promise<FoundTask> => {
  const record = await fromLedger(deps.ledger.tasks.find(id, defaultTenant))
  if (record) return record
  throw await missingTask(deps, id)
}

/** What to throw for a task that is not there: `gone` past its retention, else `not-found`, also for another tenant's. */
export const missingTask = async ({ ledger }: TaskApiDeps, id: string): Promise<Refusal> =>
  (await fromLedger(ledger.tasks.isGone(id, defaultTenant)))
    ? new Refusal('gone', `${id} is past its retention`)
    : new Refusal('not-found', `There is no task ${id}`)
