import type { Task } from '@comfy-balancer/contract/task'
import type { WebhookEvent } from '@comfy-balancer/contract/webhook'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { OutboxEntry } from '@comfy-balancer/task-store/deliveries'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { FoundTask } from '@comfy-balancer/task-store/tasks'
import { messageOf } from './message.ts'

export type OutboxDeps = {
  readonly ledger: Ledger
  /** Puts a task's delivery job into the queue, or wakes the one that is there. */
  readonly enqueue: (task: string) => Promise<void>
  /** A task as its caller sees it. */
  readonly viewOf: (record: FoundTask) => Promise<Task>
  readonly log: Log
}

const batch = 100

/**
 * Hands the outbox over: each event is recorded as owed, its task gets a job, and only then it leaves the outbox. Several processes may do
 * so at once; a step done twice changes nothing, and the events of a task are taken in order. Resolves when the outbox was empty.
 */
export const handOver = async ({ ledger, enqueue, viewOf, log }: OutboxDeps, signal: AbortSignal): Promise<void> => {
  const message = async ({ event, tenant }: Extract<OutboxEntry, { kind: 'event' }>): Promise<string> => {
    const record = await ledger.tasks.find(event.taskId, tenant)
    return messageOf(event, record && (await viewOf(record)))
  }

  const take = async (entry: OutboxEntry): Promise<void> => {
    const task = entry.kind === 'again' ? entry.task : entry.event.taskId
    if (entry.kind === 'event') {
      const { event, tenant, url } = entry
      const type = event.type as WebhookEvent
      await ledger.deliveries.owe({ task, version: event.version, tenant, url, type, body: await message(entry) })
      log.debug({ taskId: task, version: event.version, event: type }, 'webhook owed')
    }
    await enqueue(task)
    await ledger.deliveries.removeFromOutbox(entry)
  }

  const takeInOrder = async (entries: readonly OutboxEntry[]): Promise<void> => {
    for (const entry of entries) await take(entry)
  }

  let entries: OutboxEntry[]
  do {
    entries = await ledger.deliveries.outbox(batch)
    await Promise.all(byTask(entries).map(takeInOrder))
  } while (entries.length === batch && !signal.aborted)
}

const byTask = (entries: readonly OutboxEntry[]): OutboxEntry[][] => {
  const groups = new Map<string, OutboxEntry[]>()
  for (const entry of entries) {
    const task = entry.kind === 'again' ? entry.task : entry.event.taskId
    groups.set(task, [...(groups.get(task) ?? []), entry])
  }
  return [...groups.values()]
}
