import { setTimeout as pause } from 'node:timers/promises'
import { createClient } from '@comfy-balancer/client/client'
import { ProblemError } from '@comfy-balancer/client/problem-error'
import { cancelTask, generate, getTask } from '@comfy-balancer/contract/endpoints/tasks'
import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import type { Task } from '@comfy-balancer/contract/task'
import type { Call } from '../history/calls.ts'

/** Somebody to call: a balancer or a comfy-service. */
export type Front = { readonly id: string; readonly url: string }

const callMs = 4_000
const retryMs = 250
const ended = new Set<string>(['succeeded', 'failed', 'cancelled', 'expired'])

export type Caller = ReturnType<typeof createCaller>

/**
 * Calls the API as a patient client does, and writes down every answer. No answer is an answer too. With several keys it posts under one
 * after the other, and goes on with a task under the key that it was posted with.
 */
export const createCaller = (record: (call: Call) => void, apiKeys: readonly string[] = []) => {
  let streams = 0
  let posts = 0
  /** The API key of each task, and of each idempotency key. */
  const owners = new Map<string, string>()
  const keyTo = new Map<string, string>()
  const clients = new Map<string, ReturnType<typeof createClient>>()
  const clientOf = ({ url }: Front, apiKey = apiKeys[0]) => {
    const name = `${url} ${apiKey}`
    const known =
      clients.get(name) ??
      createClient({ baseUrl: url, tries: 1, timeoutMs: callMs, ...(apiKey === undefined ? {} : { apiKey }) })
    clients.set(name, known)
    return known
  }

  const ask = async (
    about: Pick<Call, 'what' | 'key' | 'task'>,
    front: Front,
    send: () => Promise<Task>
  ): Promise<{ task: Task | undefined; status: number }> => {
    const sentMs = Date.now()
    const told = (rest: Partial<Call> & { status: number }) =>
      record({ ...about, via: front.id, sentMs, answeredMs: Date.now(), ...rest })
    try {
      const task = await send()
      told({ status: about.what === 'post' ? 202 : 200, task: task.id, state: task.state, attempt: task.attempt })
      return { task, status: 200 }
    } catch (error) {
      const status = error instanceof ProblemError ? error.problem.status : 0
      told({ status, code: error instanceof ProblemError ? error.problem.code : String(error).slice(0, 80) })
      return { task: undefined, status }
    }
  }

  return {
    /** Posts until somebody accepts, asking one front after the other under the same key; undefined when that took too long. */
    async post(
      fronts: readonly Front[],
      key: string,
      body: GenerateRequest,
      { withinMs, signal }: { readonly withinMs: number; readonly signal: AbortSignal }
    ): Promise<Task | undefined> {
      const deadlineMs = performance.now() + withinMs
      const apiKey = keyTo.get(key) ?? apiKeys[posts++ % apiKeys.length]
      if (apiKey !== undefined) keyTo.set(key, apiKey)
      for (let i = 0; performance.now() < deadlineMs && !(i > 0 && signal.aborted); i++) {
        const front = fronts[i % fronts.length]!
        const about = { what: 'post', key, task: undefined } as const
        const headers = { 'idempotency-key': key }
        const send = async () =>
          (await clientOf(front, apiKey).call(generate, { body, headers, timeoutMs: callMs })) as Task
        const { task, status } = await ask(about, front, send)
        if (task && apiKey !== undefined) owners.set(task.id, apiKey)
        if (task || (status >= 400 && status < 500 && status !== 429)) return task
        await pause(retryMs)
      }
      return undefined
    },

    /** Asks once how a task is, waiting for a change if told so. */
    async get(
      front: Front,
      key: string,
      task: string,
      waitSeconds = 0
    ): Promise<{ state: string | undefined; status: number }> {
      const about = { what: 'get', key, task } as const
      const found = await ask(about, front, () => {
        const query = waitSeconds > 0 ? { wait: waitSeconds } : {}
        return clientOf(front, owners.get(task)).call(getTask, {
          params: { id: task },
          query,
          timeoutMs: callMs + waitSeconds * 1_000
        })
      })
      return { state: found.task?.state, status: found.status }
    },

    /** Asks for a task, and to cancel it, with the key of each tenant that it does not belong to. */
    async trespass(front: Front, key: string, task: string): Promise<void> {
      for (const apiKey of apiKeys.filter(one => one !== owners.get(task))) {
        for (const endpoint of [getTask, cancelTask]) {
          const send = () => clientOf(front, apiKey).call(endpoint, { params: { id: task }, timeoutMs: callMs })
          await ask({ what: 'trespass', key, task }, front, send)
        }
      }
    },

    /** Cancels; true when that was answered, whatever the answer. Whose a task is that was not posted from here shows by trying. */
    async cancel(front: Front, key: string, task: string): Promise<boolean> {
      const owner = owners.get(task)
      for (const apiKey of owner === undefined && apiKeys.length > 0 ? apiKeys : [owner]) {
        const send = () => clientOf(front, apiKey).call(cancelTask, { params: { id: task }, timeoutMs: callMs })
        const { status } = await ask({ what: 'cancel', key, task }, front, send)
        if (status !== 404) return status !== 0
      }
      return true
    },

    /** Reads one stream of events from `after` on until it ends or breaks; answers the last version, and whether the task has ended. */
    async follow(
      front: Front,
      key: string,
      task: string,
      after: number,
      signal: AbortSignal
    ): Promise<{ version: number; isOver: boolean }> {
      const stream = ++streams
      let version = after
      try {
        for await (const event of clientOf(front, owners.get(task)).watch(task, { after, signal })) {
          if (event.type === 'task.progress') continue
          version = event.version
          const { state, attempt, type } = event
          const nowMs = Date.now()
          const about = {
            what: 'event',
            via: front.id,
            sentMs: nowMs,
            answeredMs: nowMs,
            key,
            task,
            status: 200
          } as const
          record({ ...about, state, version, attempt, stream, event: type })
          if (ended.has(state)) return { version, isOver: true }
        }
      } catch (error) {
        if (error instanceof ProblemError && error.problem.status === 410) return { version, isOver: true }
      }
      return { version, isOver: false }
    }
  }
}
