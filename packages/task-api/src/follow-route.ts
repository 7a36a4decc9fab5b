import type { ServerResponse } from 'node:http'
import { followTask } from '@comfy-balancer/contract/endpoints'
import type { TaskEvent } from '@comfy-balancer/contract/event'
import { isTerminal } from '@comfy-balancer/domain/task-state'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import type { FoundTask } from '@comfy-balancer/task-store/tasks'
import type { TaskApiDeps } from './deps.ts'
import { findTask } from './find-task.ts'
import type { Waits } from './waits.ts'

const commentMs = 15_000
/** A reader this far behind gets no progress until it has caught up; what changes state waits in the journal. */
const maxBufferedBytes = 65_536
/** A reader that takes nothing for so long is let go; it can resume with Last-Event-ID. */
const stalledMs = 60_000

/** Adds the Server-Sent Events of a task: its journal from where the reader left off, and progress in between. */
export const followRoute = (app: App, deps: TaskApiDeps, waits: Waits): void => {
  route(app, followTask, async (request, reply) => {
    const record = await findTask(deps, request.caller, request.params.id)
    const after = Number(request.headers['last-event-id'] ?? 0)
    const abort = new AbortController()
    const done = app.openStreams.add(() => abort.abort())
    reply.raw.once('close', () => abort.abort())
    reply.hijack()
    reply.raw.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      'x-content-type-options': 'nosniff',
      'x-request-id': request.id
    })
    try {
      await stream({ deps, waits, record, after, response: reply.raw, signal: abort.signal })
    } catch (err) {
      request.log.warn({ err, taskId: record.id }, 'event stream broke off')
    } finally {
      done()
      reply.raw.end()
    }
    return reply
  })
}

type Reader = {
  readonly deps: TaskApiDeps
  readonly waits: Waits
  readonly record: FoundTask
  readonly after: number
  readonly response: ServerResponse
  readonly signal: AbortSignal
}

const stream = async ({ deps, waits, record, after, response, signal }: Reader): Promise<void> => {
  let version = after
  let spokeAtMs = performance.now()
  const say = (text: string): void => {
    spokeAtMs = performance.now()
    response.write(text)
  }
  let latest: TaskEvent | undefined = (await deps.ledger.tasks.journal(record.id, 0)).at(-1)
  const stop = deps.hints.onProgress(record.id, progress => {
    if (!latest || response.writableLength > maxBufferedBytes) return
    const event: TaskEvent = { ...latest, type: 'task.progress', at: new Date().toISOString(), progress }
    say(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
  })
  try {
    say('retry: 1000\n\n')
    while (!signal.aborted) {
      const nudged = waits.nudge(record.id, commentMs, signal)
      const entries = await deps.ledger.tasks.journal(record.id, version)
      for (const entry of entries) {
        version = entry.version
        latest = entry
        say(`id: ${entry.version}\nevent: ${entry.type}\ndata: ${JSON.stringify(entry)}\n\n`)
      }
      if (entries.some(entry => isTerminal(entry.state))) return
      if (entries.length === 0 && !(await isOngoing(deps, record))) return
      if (!(await drained(response, signal))) return
      await nudged
      if (performance.now() - spokeAtMs >= commentMs) say(': still here\n\n')
    }
  } finally {
    stop()
  }
}

/** False when there will be no further entry: the reader has seen them all, or the record is gone. */
const isOngoing = async ({ ledger }: TaskApiDeps, { id }: FoundTask): Promise<boolean> => {
  const now = await ledger.tasks.find(id)
  return now !== undefined && !isTerminal(now.state)
}

const drained = async (response: ServerResponse, signal: AbortSignal): Promise<boolean> => {
  const end = performance.now() + stalledMs
  while (response.writableLength > maxBufferedBytes && !signal.aborted) {
    if (performance.now() > end) return false
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  return true
}
