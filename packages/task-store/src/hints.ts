import { EventEmitter } from 'node:events'
import { TaskPreview } from '@comfy-balancer/contract/event'
import { Progress } from '@comfy-balancer/contract/task'
import type { LedgerState } from '@comfy-balancer/domain/task-state'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import type { Redis } from 'ioredis'
import { createKeys } from './keys.ts'
import { readAs } from './read-as.ts'

const progresses = TypeCompiler.Compile(Progress)
const isProgress = (value: unknown): value is Progress => progresses.Check(value)
const previews = TypeCompiler.Compile(TaskPreview)
const isPreview = (value: unknown): value is TaskPreview => previews.Check(value)

export type Hints = Awaited<ReturnType<typeof createHints>>

/**
 * What Pub/Sub says: that there is something to read. Hints get lost; whoever waits for one also looks by the clock, and what cannot be read
 * is one that got lost. One subscriber connection serves the whole process.
 */
export const createHints = async (subscriber: Redis, publisher: Redis, prefix: string) => {
  const keys = createKeys(prefix)
  const emitter = new EventEmitter().setMaxListeners(0)
  const channels = {
    events: keys.events(),
    progress: keys.progress(),
    dispatch: keys.wakeDispatch(),
    outbox: keys.wakeOutbox()
  }
  subscriber.on('message', (channel: string, message: string) => {
    if (channel === channels.events) emitTask(emitter, message)
    else if (channel === channels.dispatch) emitter.emit('dispatch')
    else if (channel === channels.outbox) emitter.emit('outbox')
    else if (channel === channels.progress) emitProgress(emitter, message)
    else emitter.emit(channel, message)
  })
  subscriber.on('ready', () => missed(emitter))
  await subscriber.subscribe(...Object.values(channels))

  const on = (event: string, listener: (...args: never[]) => void): (() => void) => {
    emitter.on(event, listener as (...args: unknown[]) => void)
    return () => void emitter.off(event, listener as (...args: unknown[]) => void)
  }

  return {
    /**
     * A task has a new journal entry, with which it is in this state; undefined when hints were missed, so that anything may have happened.
     * Returns the way to stop listening, as all of these do.
     */
    onTask: (id: string, listener: (state: LedgerState | undefined) => void) => on(`task:${id}`, listener),

    /** A running task got further. */
    onProgress: (id: string, listener: (progress: Progress) => void) => on(`progress:${id}`, listener),

    /** A running task shows what it works on. */
    onPreview(id: string, listener: (preview: TaskPreview) => void) {
      const channel = keys.preview(id)
      if (emitter.listenerCount(channel) === 0) subscriber.subscribe(channel).catch(() => {})
      const off = on(channel, (message: string) => {
        const preview = readAs(message, isPreview)
        if (preview) listener(preview)
      })
      return () => {
        off()
        if (emitter.listenerCount(channel) === 0) subscriber.unsubscribe(channel).catch(() => {})
      }
    },

    /** There may be something to dispatch. */
    onDispatch: (listener: () => void) => on('dispatch', listener),

    /** There is something in the outbox. */
    onOutbox: (listener: () => void) => on('outbox', listener),

    /** The slot or the attempt of a node changed. */
    async onNode(node: string, listener: () => void) {
      await subscriber.subscribe(keys.wake(node))
      return on(keys.wake(node), listener)
    },

    /** Tells whoever follows this task how far it is; nothing is stored. */
    async progress(id: string, progress: Progress): Promise<void> {
      await publisher.publish(channels.progress, `${id} ${JSON.stringify(progress)}`)
    },

    /** Shows whoever asked for it what this task works on; without anybody it costs one question. */
    async preview(id: string, preview: TaskPreview): Promise<void> {
      const channel = keys.preview(id)
      const [, listeners] = (await publisher.pubsub('NUMSUB', channel)) as [string, number]
      if (Number(listeners) > 0) await publisher.publish(channel, JSON.stringify(preview))
    }
  }
}

/** While the connection was away hints were lost: whoever waits looks again. */
const missed = (emitter: EventEmitter): void => {
  for (const event of emitter.eventNames()) {
    if (event === 'dispatch' || event === 'outbox' || String(event).startsWith('task:')) emitter.emit(event)
  }
}

const emitTask = (emitter: EventEmitter, message: string): void => {
  const [id, , state] = message.split(' ')
  emitter.emit(`task:${id}`, state)
}

const emitProgress = (emitter: EventEmitter, message: string): void => {
  const space = message.indexOf(' ')
  const event = `progress:${message.slice(0, space)}`
  if (emitter.listenerCount(event) === 0) return
  const progress = readAs(message.slice(space + 1), isProgress)
  if (progress) emitter.emit(event, progress)
}
