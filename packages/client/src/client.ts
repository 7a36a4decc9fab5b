import type { Endpoint } from '@comfy-balancer/contract/endpoint'
import { getFleet } from '@comfy-balancer/contract/endpoints/fleet'
import { cancelGroup, getGroup } from '@comfy-balancer/contract/endpoints/groups'
import { uploadInput } from '@comfy-balancer/contract/endpoints/inputs'
import { listNodes } from '@comfy-balancer/contract/endpoints/nodes'
import { cancelTask, generate, getTask } from '@comfy-balancer/contract/endpoints/tasks'
import type { TaskEvent } from '@comfy-balancer/contract/event'
import type { GenerateRequest, ShotRequest } from '@comfy-balancer/contract/generate'
import type { Group } from '@comfy-balancer/contract/group'
import type { UploadedInput } from '@comfy-balancer/contract/input'
import type { Fleet, Node } from '@comfy-balancer/contract/node'
import type { Output, Task } from '@comfy-balancer/contract/task'
import type { Answer, Input } from './input.ts'
import { pause } from './pause.ts'
import { readProblem } from './problem-error.ts'
import { isFinished } from './task-end.ts'
import { type TemplateCalls, templateCalls } from './templates.ts'
import { type WatchOptions, watchGroup, watchTask } from './watch.ts'
import { createWire, fixedHeaders, type WireOptions } from './wire.ts'

export type ClientOptions = WireOptions

/** The typed caller of comfy-balancer and comfy-service; see `createClient`. */
export type Client = {
  /** Calls any endpoint of the contract; refusals throw a ProblemError. */
  readonly call: <E extends Endpoint>(endpoint: E, input: Input<E>) => Promise<Answer<E>>
  /** Posts a workflow, or the name of a template and its params. Without a key of the caller's an idempotency key is made, so that a repeated post is still one task. */
  readonly generate: (body: Omit<ShotRequest, 'count'>, options?: GenerateOptions) => Promise<Task>
  /** Posts a request that gives a group, by `count`, a list of `requests` or its template: all of its tasks are accepted, or none. */
  readonly generateGroup: (body: GenerateRequest, options?: GenerateOptions) => Promise<Group>
  /** The group as it is, with its tasks. */
  readonly getGroup: (id: string) => Promise<Group>
  /** Cancels every task of a group that has not ended. */
  readonly cancelGroup: (id: string) => Promise<Group>
  /** Keeps a file for workflows to refer to by its id; `timeoutMs` is 10 minutes when left out. `fs.openAsBlob` gives a file without reading it. */
  readonly upload: (file: Blob | Uint8Array, options?: UploadOptions) => Promise<UploadedInput>
  /** The task as it is, or after at most `waitSeconds` as soon as its state changes. */
  readonly getTask: (id: string, options?: { readonly waitSeconds?: number }) => Promise<Task>
  /** Waits until the task has ended, however it ended; throws when that takes longer than `timeoutMs` (10 minutes when left out). */
  readonly wait: (id: string, options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal }) => Promise<Task>
  /** What happens to the task, until it has ended; survives broken connections. */
  readonly watch: (id: string, options?: WatchOptions) => AsyncGenerator<TaskEvent>
  /** What happens to the tasks of a group, until the last of them has ended; survives broken connections. */
  readonly watchGroup: (id: string, options?: Pick<WatchOptions, 'signal'>) => AsyncGenerator<TaskEvent>
  /** Cancels a queued or running task. */
  readonly cancel: (id: string) => Promise<Task>
  /** An output's bytes as a response to read as one likes; `timeoutMs` (10 minutes when left out) covers the reading too. */
  readonly download: (output: Pick<Output, 'url'>, options?: { readonly timeoutMs?: number }) => Promise<Response>
  readonly templates: TemplateCalls
  readonly nodes: () => Promise<Node[]>
  readonly fleet: () => Promise<Fleet>
}

export type GenerateOptions = {
  readonly idempotencyKey?: string
  /** Answer when the task has ended, at most this many seconds later. */
  readonly waitSeconds?: number
}

export type UploadOptions = {
  /** Says what the file is where its first bytes do not. */
  readonly filename?: string
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

const longMs = 600_000
const longPollSeconds = 30
const leastPollMs = 250

/** Creates a client of the service at `baseUrl`; works in Node and in browsers. */
export const createClient = (options: ClientOptions): Client => {
  const wire = createWire(options)
  const call: Client['call'] = async (endpoint, input) =>
    (await (await wire(endpoint, input)).json()) as Answer<typeof endpoint>
  const task: Client['getTask'] = (id, { waitSeconds = 0 } = {}) =>
    call(getTask, {
      params: { id },
      query: waitSeconds > 0 ? { wait: waitSeconds } : {},
      timeoutMs: graceMs(waitSeconds)
    })
  return {
    call,
    getTask: task,
    generate: async (body, options) => (await post(call, body, options)) as Task,
    generateGroup: async (body, options) => (await post(call, body, options)) as Group,
    getGroup: id => call(getGroup, { params: { id } }),
    cancelGroup: id => call(cancelGroup, { params: { id } }),
    upload: (file, { filename = 'file', timeoutMs = longMs, ...more } = {}) => {
      const form = new FormData()
      form.append('file', file instanceof Blob ? file : new Blob([file]), filename)
      return call(uploadInput, { form, timeoutMs, ...more })
    },
    wait: (id, { timeoutMs = longMs, signal } = {}) => waitForEnd(task, id, timeoutMs, signal),
    watch: (id, watchOptions) => watchTask(wire, id, watchOptions),
    watchGroup: (id, watchOptions) => watchGroup(wire, id, watchOptions),
    cancel: id => call(cancelTask, { params: { id } }),
    download: (output, { timeoutMs = longMs } = {}) => download(options, output.url, timeoutMs),
    templates: templateCalls(wire, call),
    nodes: async () => (await call(listNodes, {})).data,
    fleet: () => call(getFleet, {})
  }
}

const post = (call: Client['call'], body: GenerateRequest, options: GenerateOptions = {}): Promise<Task | Group> => {
  const { idempotencyKey = globalThis.crypto.randomUUID(), waitSeconds = 0 } = options
  const headers = { 'idempotency-key': idempotencyKey, ...preferred(waitSeconds) }
  return call(generate, { body, headers, timeoutMs: graceMs(waitSeconds) })
}

const preferred = (waitSeconds: number): Record<string, string> =>
  waitSeconds > 0 ? { prefer: `wait=${waitSeconds}` } : {}

const graceMs = (waitSeconds: number): number => waitSeconds * 1000 + 60_000

const waitForEnd = async (
  read: Client['getTask'],
  id: string,
  timeoutMs: number,
  signal?: AbortSignal
): Promise<Task> => {
  const deadlineMs = Date.now() + timeoutMs
  for (;;) {
    const askedMs = Date.now()
    const leftSeconds = Math.max(0, Math.ceil((deadlineMs - askedMs) / 1000))
    const task = await read(id, { waitSeconds: Math.min(longPollSeconds, leftSeconds) })
    if (isFinished(task.state)) return task
    signal?.throwIfAborted()
    if (Date.now() >= deadlineMs)
      throw new Error(`task ${id} has not ended within ${timeoutMs} ms: it is ${task.state}`)
    await pause(Math.max(0, askedMs + leastPollMs - Date.now()), signal)
  }
}

const download = async (options: ClientOptions, outputUrl: string, timeoutMs: number): Promise<Response> => {
  const base = new URL(options.baseUrl)
  const url = new URL(outputUrl, base)
  const headers = url.origin === base.origin ? fixedHeaders(options) : {}
  const response = await (options.fetch ?? globalThis.fetch)(url, { headers, signal: AbortSignal.timeout(timeoutMs) })
  if (!response.ok) throw await readProblem(response)
  return response
}
