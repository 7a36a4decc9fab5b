import { cancelGroup, getGroup } from '@comfy-balancer/contract/endpoints/groups'
import type { Group } from '@comfy-balancer/contract/group'
import { isTerminal } from '@comfy-balancer/domain/task-state'
import type { Caller } from '@comfy-balancer/service-kit/caller'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import type { FoundTask, GroupRecord } from '@comfy-balancer/task-store/tasks'
import type { TaskApiDeps } from './deps.ts'
import { findTask } from './find-task.ts'
import { viewGroup } from './group-view.ts'
import { fromLedger } from './ledger-errors.ts'
import type { Waits } from './waits.ts'

/** Adds what is asked about groups. */
export const groupRoutes = (app: App, deps: TaskApiDeps): void => {
  const { ledger } = deps

  route(app, getGroup, async (request, reply) => {
    const { group, records } = await findGroup(deps, request.caller, request.params.id)
    reply.header('cache-control', 'no-store')
    return viewGroup(group, await Promise.all(records.map(deps.viewTask)))
  })

  route(app, cancelGroup, async request => {
    const { group } = await findGroup(deps, request.caller, request.params.id)
    const answers = await fromLedger(Promise.all(group.tasks.map(id => ledger.tasks.cancel(id, request.caller.tenant))))
    const tasks = answers.filter(answer => answer === 'cancelled').length
    request.log.info({ groupId: group.id, tasks }, 'group cancelled')
    const { records } = await findGroup(deps, request.caller, group.id)
    return viewGroup(group, await Promise.all(records.map(deps.viewTask)))
  })
}

/** A group and those of its tasks that are not past their retention, or a Refusal: `gone` when none is left, `not-found` without a group. */
export const findGroup = async (
  { ledger }: TaskApiDeps,
  { tenant }: Caller,
  id: string
): Promise<{ group: GroupRecord; records: FoundTask[] }> => {
  const group = await fromLedger(ledger.tasks.findGroup(id, tenant))
  if (!group) throw new Refusal('not-found', `There is no group ${id}`)
  const found = await fromLedger(Promise.all(group.tasks.map(task => ledger.tasks.find(task, tenant))))
  const records = found.filter(record => record !== undefined)
  if (records.length === 0) throw new Refusal('gone', `The tasks of ${id} are past their retention`)
  return { group, records }
}

/** The group as soon as all of its tasks have ended, or as it is when the seconds are over. */
export const groupAtEnd = async (
  deps: TaskApiDeps,
  caller: Caller,
  id: string,
  { waits, seconds, signal }: { waits: Waits; seconds: number; signal: AbortSignal }
): Promise<Group> => {
  const { group, records } = await findGroup(deps, caller, id)
  const now = records.map(({ id, state }, i) => {
    const read = () => findTask(deps, caller, id)
    return isTerminal(state) ? records[i]! : waits.forEnd({ id, read, seconds, signal })
  })
  return viewGroup(group, await Promise.all((await Promise.all(now)).map(deps.viewTask)))
}
