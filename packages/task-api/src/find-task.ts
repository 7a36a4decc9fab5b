import type { Caller } from '@comfy-balancer/service-kit/caller'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { FoundTask } from '@comfy-balancer/task-store/tasks'
import type { TaskApiDeps } from './deps.ts'
import { fromLedger } from './ledger-errors.ts'

/** The record of a task that a caller may see, or a Refusal: `gone` past its retention, `not-found` otherwise, also for another tenant's. Operators (`admin`) see everybody's. */
export const findTask = async (deps: TaskApiDeps, caller: Caller, id: string): Promise<FoundTask> => {
  const record = await fromLedger(deps.ledger.tasks.find(id, caller.may('admin') ? undefined : caller.tenant))
  if (record) return record
  throw await missingTask(deps, caller, id)
}

/** What to throw for a task that is not there: `gone` past its retention, else `not-found`, also for another tenant's. */
export const missingTask = async ({ ledger }: TaskApiDeps, { tenant }: Caller, id: string): Promise<Refusal> =>
  (await fromLedger(ledger.tasks.isGone(id, tenant)))
    ? new Refusal('gone', `${id} is past its retention`)
    : new Refusal('not-found', `There is no task ${id}`)
