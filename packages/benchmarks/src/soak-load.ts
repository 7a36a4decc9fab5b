import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Client, createClient } from '@comfy-balancer/client/client'
import { ProblemError } from '@comfy-balancer/client/problem-error'
import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import type { Task } from '@comfy-balancer/contract/task'
import type { Fleet } from '@comfy-balancer/local/fleet'
import { root } from '@comfy-balancer/local/root'

/** What the callers of a soak saw in the end. */
export type Load = { readonly succeeded: number; readonly others: number; readonly webhooks: number }

/** Counts the webhooks that reach it. */
export type Receiver = {
  readonly url: string
  readonly port: number
  readonly received: () => number
  readonly close: () => void
}

/** Listens on loopback. */
export const startReceiver = async (): Promise<Receiver> => {
  let count = 0
  const server = createServer((request, response) => {
    request.resume().once('end', () => {
      count += 1
      response.writeHead(204).end()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const close = (): void => {
    server.closeAllConnections()
    server.close()
  }
  return { url: `http://127.0.0.1:${port}/hook`, port, received: () => count, close }
}

const manners = ['poll', 'wait', 'stream', 'stream', 'webhook', 'cancel'] as const
type Manner = (typeof manners)[number]

const callers = 6
const taskWithinMs = 120_000
const pollMs = 150
const betweenMs = 100
const faultyEvery = 23
const workflows = ['portrait', 'landscape', 'city'].map(
  name => JSON.parse(readFileSync(join(root, `deploy/local/workflows/${name}.json`), 'utf8')) as GenerateRequest
)

/** No two pictures are alike; each 23rd names a sampler that is not there. */
const aRequest = (count: number): GenerateRequest => {
  const request = structuredClone(workflows[count % workflows.length]!)
  for (const { inputs } of Object.values(request.prompt ?? {}) as { inputs: Record<string, unknown> }[]) {
    if (!('seed' in inputs)) continue
    inputs.seed = count
    if (count % faultyEvery === 0) inputs.sampler_name = 'no-such-sampler'
  }
  return request
}

/**
 * Six callers post one task after another until `signal` is aborted, alternately at the balancer and at a comfy-service, and each follows its
 * task in a manner of its own; an operator's page is open all the while. Throws when a task is lost.
 */
export const applyLoad = async (fleet: Fleet, receiver: Receiver, signal: AbortSignal): Promise<Load> => {
  const fronts = [fleet.balancerUrls[0]!, fleet.balancerUrls[0]!, ...fleet.nodes.map(({ url }) => url)]
  const clients = fronts.map(baseUrl => createClient({ baseUrl }))
  const load = { succeeded: 0, others: 0 }
  let count = 0
  const live = async (caller: number): Promise<void> => {
    while (!signal.aborted) {
      const turn = ++count
      const manner = manners[(turn + caller) % manners.length]!
      const task = await attend(clients[turn % clients.length]!, aRequest(turn), manner, receiver.url)
      load[task.state === 'succeeded' ? 'succeeded' : 'others'] += 1
      await pause(betweenMs)
    }
  }
  const page = new AbortController()
  const watching = watchFleet(fleet.balancerUrls[0]!, page.signal)
  try {
    await Promise.all(Array.from({ length: callers }, (_, caller) => live(caller)))
  } finally {
    page.abort()
  }
  await watching
  return { ...load, webhooks: receiver.received() }
}

const attend = async (client: Client, request: GenerateRequest, manner: Manner, url: string): Promise<Task> => {
  const { id } = await client.generate(manner === 'webhook' ? { ...request, webhook: { url } } : request)
  if (manner === 'cancel') {
    await pause(pollMs)
    await client.cancel(id).catch(unlessEnded)
  }
  if (manner === 'stream') {
    const signal = AbortSignal.timeout(taskWithinMs)
    for await (const event of client.watch(id, { signal })) if (event.type === 'task.succeeded') break
  }
  if (manner === 'poll') {
    const untilMs = performance.now() + taskWithinMs
    while (['queued', 'running'].includes((await client.getTask(id)).state) && performance.now() < untilMs)
      await pause(pollMs)
  }
  return client.wait(id, { timeoutMs: taskWithinMs })
}

const unlessEnded = (error: unknown): void => {
  if (!(error instanceof ProblemError && error.problem.code === 'task-already-finished')) throw error
}

/** What the dashboard does: reads the fleet's events as long as it is open, and connects again when they end. */
const watchFleet = async (url: string, signal: AbortSignal): Promise<void> => {
  while (!signal.aborted) {
    try {
      const response = await fetch(`${url}/api/v1/fleet/events`, { signal })
      if (!response.ok || !response.body) throw new Error(`the fleet's events: ${response.status}`)
      for await (const _ of response.body) signal.throwIfAborted()
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }
}
