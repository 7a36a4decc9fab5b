import { setTimeout as pause } from 'node:timers/promises'
import type { Log } from '@comfy-balancer/service-kit/log'
import { DelayedError, type Job, Queue, Worker } from 'bullmq'
import type { Redis } from 'ioredis'

export type DeliveryQueueOptions = {
  /** The connection for commands; the worker gets copies of it that may wait. */
  readonly redis: Redis
  /** The ledger's prefix; the queue's keys begin with it, so that they share its cluster slot. */
  readonly prefix: string
  readonly concurrency: number
  readonly log: Log
  /** Works on a task: the ms after which to go on, or undefined when there is nothing left to do. */
  readonly work: (task: string, signal: AbortSignal) => Promise<number | undefined>
}

export type DeliveryQueue = ReturnType<typeof createDeliveryQueue>

const name = 'webhooks'
/** A worker that is gone gives its jobs back within two of these. */
const lockMs = 10_000
/** A job that throws met an outage of ours, or a bug: it is tried again, as good as for ever. */
const errorPauseMs = 5_000
const forEver = 1_000_000_000
/** What is under way when this process ends may still finish. */
const graceMs = 1_000

/** BullMQ waits on copies of the connection that it is given, and may leave one open, or open one late: they end with the queue. */
const trackCopies = (redis: Redis): { readonly disconnect: () => void } => {
  const copies = new Set<Redis>()
  let isOver = false
  const duplicate = redis.duplicate.bind(redis)
  redis.duplicate = override => {
    const copy = duplicate(override)
    copies.add(copy)
    copy.on('connect', () => void (isOver && copy.disconnect()))
    return copy
  }
  return {
    disconnect: () => {
      isOver = true
      for (const copy of copies) copy.disconnect()
    }
  }
}

/**
 * The queue of delivery jobs, one for each task: whoever is added while its job waits joins that job, and while its job is at work a
 * further one follows it. So no two workers bring the events of one task, and none is left behind.
 */
export const createDeliveryQueue = ({ redis, prefix, concurrency, log, work }: DeliveryQueueOptions) => {
  const stopping = new AbortController()
  const patient = redis.duplicate({
    commandTimeout: undefined,
    maxRetriesPerRequest: null,
    connectionName: 'webhooks'
  })
  const copies = trackCopies(patient)
  const queue = new Queue<Record<string, never>, void, string>(name, {
    prefix: `${prefix}bull`,
    connection: redis,
    streams: { events: { maxLen: 100 } },
    defaultJobOptions: {
      removeOnComplete: true,
      attempts: forEver,
      backoff: { type: 'fixed', delay: errorPauseMs }
    }
  })

  const atWork = new Set<Promise<void>>()
  const process = async (job: Job, token?: string): Promise<void> => {
    const done = bring(job, token)
    atWork.add(done)
    return done.finally(() => atWork.delete(done))
  }

  const bring = async (job: Job, token?: string): Promise<void> => {
    const pauseMs = await workOn(job.name)
    if (pauseMs === undefined) return
    await job.moveToDelayed(Date.now() + Math.ceil(pauseMs), token)
    throw new DelayedError()
  }

  const workOn = async (task: string): Promise<number | undefined> => {
    try {
      return await work(task, stopping.signal)
    } catch (err) {
      if (stopping.signal.aborted) return 0
      log.warn({ err, taskId: task, errorSource: 'ours' }, 'webhook delivery broke off')
      throw err
    }
  }

  const worker = new Worker(name, process, {
    prefix: `${prefix}bull`,
    connection: patient,
    concurrency,
    lockDuration: lockMs,
    stalledInterval: lockMs,
    maxStalledCount: forEver
  })
  const whisper = (err: Error) => log.debug({ err }, 'webhook queue has trouble with redis')
  queue.on('error', whisper)
  worker.on('error', whisper)
  patient.on('error', whisper)

  return {
    /** Makes sure that a worker will look at what is owed for this task, from now on. */
    async add(task: string): Promise<void> {
      await queue.add(task, {}, { deduplication: { id: task, keepLastIfActive: true, reschedule: true } })
    },

    /** How many tasks have a job that is not at work now. */
    waiting: (): Promise<number> => queue.count(),

    /**
     * Takes no more jobs, gives what is under way a second, and returns it to the queue. BullMQ's own patient close can wait for ever for
     * its blocking connection; what it has not noted as done by then is looked at once more when its lock has ended.
     */
    async close(): Promise<void> {
      await worker.pause(true)
      const timer = setTimeout(() => stopping.abort(), graceMs)
      await Promise.race([Promise.allSettled(atWork), pause(2 * graceMs, undefined, { ref: false })])
      clearTimeout(timer)
      await Promise.race([worker.close(true), pause(graceMs, undefined, { ref: false })])
      await Promise.race([queue.close(), pause(graceMs, undefined, { ref: false })])
      copies.disconnect()
      patient.disconnect()
    }
  }
}
