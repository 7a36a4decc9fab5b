import { setMaxListeners } from 'node:events'
import { cancelTask, generate, getTask, getTaskLogs, listTasks } from '@comfy-balancer/contract/endpoints/tasks'
import type { Task } from '@comfy-balancer/contract/task'
import { isTerminal, shownState } from '@comfy-balancer/domain/task-state'
import type { Caller } from '@comfy-balancer/service-kit/caller'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { tellAllowance } from '@comfy-balancer/service-kit/rate-limit'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import { traceIdOf } from '@comfy-balancer/service-kit/trace-id'
import type { FoundTask } from '@comfy-balancer/task-store/tasks'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { accept } from './accept.ts'
import { taskCursor } from './cursor.ts'
import type { TaskApiDeps } from './deps.ts'
import { findTask, missingTask } from './find-task.ts'
import { createFollowers } from './following/followers.ts'
import { groupStreamRoute } from './following/group-stream-route.ts'
import { socketRoute } from './following/socket-route.ts'
import { streamRoute } from './following/stream-route.ts'
import { findGroup, groupAtEnd, groupRoutes } from './group-routes.ts'
import { inputRoutes } from './inputs/input-routes.ts'
import { fromLedger } from './ledger-errors.ts'
import { outputRoute } from './output-route.ts'
import { soonestEnd } from './soonest-end.ts'
import { templateRoutes } from './templates/template-routes.ts'
import { timelineRoute } from './timeline-route.ts'
import { createWaits, type Wait } from './waits.ts'
import { webhookRoutes } from './webhook-routes.ts'

/** A caller polls again after so many seconds; long polls and events tell sooner. */
const retryAfterSeconds = 1

/** Adds everything under `/api/v1` that is about tasks, what they are made from and their webhooks. */
export const taskRoutes = (app: App, deps: TaskApiDeps): void => {
  const { ledger, viewTask } = deps
  const waits = createWaits(deps)
  const accepting = { ...deps, soonestEnd: () => soonestEnd(deps.outlook) }

  /** `found` is how it stood a moment ago, which is enough for who does not wait. */
  const taskAtEnd = async (
    caller: Caller,
    id: string,
    wait: Pick<Wait, 'seconds' | 'signal'>,
    found: FoundTask | undefined
  ): Promise<Task> => {
    if (found && wait.seconds === 0) return viewTask(found)
    return viewTask(await waits.forEnd({ ...wait, id, read: () => findTask(deps, caller, id) }))
  }

  route(app, generate, async (request, reply) => {
    const { id, replayed, tasks, task, generations } = await accept(accepting, {
      caller: request.caller,
      body: request.body,
      text: request.bodyText ?? '',
      idempotencyKey: request.headers['idempotency-key'],
      traceId: traceIdOf(request.headers.traceparent)
    })
    if (generations) tellAllowance(reply, generations)
    if (!replayed) for (const taskId of tasks) request.log.info({ taskId }, 'task accepted')
    const seconds = preferredWait(request.headers.prefer)
    if (seconds > 0) reply.header('preference-applied', `wait=${seconds}`)
    const signal = seconds > 0 ? callerGone(request, reply) : noWait
    const wait = { seconds, signal }
    const answer = id.startsWith('group_')
      ? await groupAtEnd(deps, request.caller, id, { waits, ...wait })
      : await taskAtEnd(request.caller, id, wait, task)
    if (replayed) reply.header('idempotency-replayed', 'true')
    if (answer.finishedAt === null) reply.header('retry-after', String(retryAfterSeconds))
    reply.header('location', answer.links.self)
    return answer
  })

  route(app, getTask, async (request, reply) => {
    const { id } = request.params
    const read = () => findTask(deps, request.caller, id)
    const record = await read()
    const seconds = request.query.wait ?? preferredWait(request.headers.prefer as string | undefined)
    const isOver = seconds <= 0 || isTerminal(record.state)
    const now = isOver
      ? record
      : await waits.forChange(record, { id, read, seconds, signal: callerGone(request, reply) })
    if (!isTerminal(now.state)) reply.header('retry-after', String(retryAfterSeconds))
    reply.header('cache-control', 'no-store')
    return viewTask(now)
  })

  route(app, cancelTask, async request => {
    const { id } = request.params
    const answer = await fromLedger(ledger.tasks.cancel(id, request.caller.tenant))
    if (answer === 'not-found') throw await missingTask(deps, request.caller, id)
    if (answer !== 'cancelled') {
      throw new Refusal('task-already-finished', `${id} has ${answer}; only a task that has not ended can be cancelled`)
    }
    request.log.info({ taskId: id }, 'task cancelled')
    return viewTask(await findTask(deps, request.caller, id))
  })

  route(app, listTasks, async request => {
    const { state, template, group, limit = 50, cursor } = request.query
    const before = cursor === undefined ? undefined : taskCursor.read(cursor)
    const { tenant } = request.caller
    const members = group === undefined ? undefined : (await findGroup(deps, request.caller, group)).group.tasks
    return fromLedger(listPage(deps, { tenant, state, template, members, limit, before }))
  })

  route(app, getTaskLogs, async (request, reply) => {
    const { id } = await findTask(deps, request.caller, request.params.id)
    const text = await fromLedger(ledger.tasks.log(id))
    return reply.type('text/plain; charset=utf-8').header('cache-control', 'no-store').send(text)
  })

  inputRoutes(app, deps.inputs)
  groupRoutes(app, deps)
  templateRoutes(app, deps)
  const following = { deps, waits, followers: createFollowers(deps.maxFollowers) }
  streamRoute(app, following)
  groupStreamRoute(app, following)
  socketRoute(app, following)
  outputRoute(app, deps)
  webhookRoutes(app, deps)
  timelineRoute(app, deps)
}

/** Reads `Prefer: wait=N` (RFC 7240); 0 without it, 60 at most. */
const preferredWait = (prefer: string | undefined): number =>
  Math.min(60, Number(/(?:^|[,;\s])wait\s*=\s*"?(\d{1,9})/i.exec(prefer ?? '')?.[1] ?? 0))

const noWait = new AbortController().signal

/** Aborts when the caller hangs up or the server closes; every task of a group listens to it. */
const callerGone = (request: FastifyRequest, reply: FastifyReply): AbortSignal => {
  const abort = new AbortController()
  setMaxListeners(0, abort.signal)
  const hangUp = () => abort.abort('the caller is gone')
  const done = request.server.openStreams.add(hangUp)
  reply.raw.once('close', () => {
    done()
    hangUp()
  })
  return abort.signal
}

/** A filtered page may need several reads; so many at most, then the cursor goes on from there. */
const maxReads = 20

/** `members` are the only tasks to list, oldest first. */
type Page = {
  readonly tenant: string
  readonly state: string | undefined
  readonly template: string | undefined
  readonly members: readonly string[] | undefined
  readonly limit: number
  readonly before: string | undefined
}

const listPage = async ({ ledger, viewTask }: TaskApiDeps, page: Page) => {
  const { tenant, members, limit, before } = page
  const found: FoundTask[] = []
  let last = before
  let isMore = true
  for (let i = 0; i < maxReads && isMore && found.length < limit; i++) {
    const ids = members ? membersBefore(members, last, limit) : await ledger.tasks.list(tenant, last, limit)
    isMore = ids.length === limit
    for (const id of ids) {
      last = id
      const record = await ledger.tasks.find(id, tenant)
      if (record && isWanted(record, page)) found.push(record)
      if (found.length === limit) break
    }
  }
  const nextCursor = isMore || found.length === limit ? taskCursor.write(last) : null
  return { data: await Promise.all(found.map(viewTask)), nextCursor }
}

const isWanted = (record: FoundTask, { state, template }: Page): boolean =>
  (state === undefined || shownState(record.state) === state) &&
  (template === undefined || record.template === template)

const membersBefore = (members: readonly string[], before: string | undefined, limit: number): string[] =>
  members
    .filter(id => before === undefined || id < before)
    .slice(-limit)
    .reverse()
