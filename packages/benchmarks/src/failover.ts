import { type Client, createClient } from '@comfy-balancer/client/client'
import { until } from '@comfy-balancer/local/until'
import { aRequest } from './chaos/callers/workflows.ts'
import type { Rig, RigNode } from './chaos/rig/rig.ts'
import { quantile } from './quantile.ts'
import { markdownTable } from './table.ts'

/** From each blow to a node until its task was dispatched to another one, in ms. */
export type Failover = { readonly what: string; readonly bar: string; readonly durationsMs: readonly number[] }

/** Strikes at once and answers how to undo it. */
type Strike = (node: RigNode) => () => Promise<unknown>

const withinMs = 60_000
const taskMs = 3_000
/** Longer than a rescue takes that does not wait for the restart, which would give the task back too. */
const downMs = 3_000

const killing =
  (program: 'service' | 'comfyui'): Strike =>
  node => {
    const back = node[program].kill(downMs)
    return () => back
  }

const freeze: Strike = ({ service, comfyui }) => {
  service.freeze()
  comfyui.freeze()
  return async () => {
    comfyui.thaw()
    service.thaw()
  }
}

const blows: readonly { readonly what: string; readonly bar: string; readonly strike: Strike }[] = [
  { what: 'comfy-service killed', bar: 'p50 ≤ 1 s', strike: killing('service') },
  { what: 'ComfyUI killed under a living comfy-service', bar: 'p50 ≤ 1 s', strike: killing('comfyui') },
  { what: 'node stopped with SIGSTOP', bar: 'max ≤ 6 s (lease + 1 s)', strike: freeze }
]

/** Each blow so many times, in turn, to the node that runs the only task. Throws when that task is lost. */
export const measureFailover = async (rig: Rig, times: number): Promise<Failover[]> => {
  const client = createClient({ baseUrl: rig.balancers[0]!.url })
  const found = blows.map(blow => ({ ...blow, durationsMs: [] as number[] }))
  for (let round = 1; round <= times; round++) {
    for (const { what, strike, durationsMs } of found)
      durationsMs.push(await failOver(rig, client, strike, `${what} ${round}`))
  }
  return found
}

const failOver = async (rig: Rig, client: Client, strike: Strike, key: string): Promise<number> => {
  await untilReady(rig, client)
  const { id } = await client.generate(aRequest({ kind: 'picture', ms: taskMs }, key))
  const node = await until(async () => {
    const task = await client.getTask(id)
    return task.state === 'running' ? rig.nodes.find(one => one.id === task.node) : undefined
  }, withinMs)
  if (!node) throw new Error(`${key}: ${id} does not run`)
  const struckMs = Date.now()
  const undo = strike(node)
  const againMs = await nextDispatch(client, id).finally(undo)
  const { state, attempt, node: rescuer } = await client.wait(id, { timeoutMs: withinMs })
  if (state !== 'succeeded' || attempt !== 2 || rescuer === node.id)
    throw new Error(`${key}: ${id} is ${state} after attempt ${attempt} on ${rescuer}, the first was on ${node.id}`)
  return againMs - struckMs
}

/** The journal's time of the second dispatch. */
const nextDispatch = async (client: Client, id: string): Promise<number> => {
  for await (const event of client.watch(id, { signal: AbortSignal.timeout(withinMs) })) {
    if (event.type === 'task.dispatched' && event.attempt === 2) return Date.parse(event.at)
  }
  throw new Error(`${id} was not dispatched again`)
}

/** Waits until every node is there and free. */
export const untilReady = async (rig: Rig, client: Client): Promise<void> => {
  const isFree = await until(async () => {
    const nodes = await client.nodes()
    const free = nodes.filter(node => node.state === 'ready' && node.attempt === null && node.comfyui?.up)
    return free.length === rig.nodes.length || undefined
  }, withinMs)
  if (!isFree) throw new Error(`the fleet is not ready: ${JSON.stringify(await client.nodes())}`)
}

/** The times beside what was promised. */
export const failoverTable = (found: readonly Failover[]): string => {
  const seconds = (ms: number) => `${(ms / 1_000).toFixed(2)} s`
  const rows = found.map(({ what, bar, durationsMs }) => [
    ...[what, String(durationsMs.length), seconds(quantile(durationsMs, 0.5)), seconds(Math.max(...durationsMs)), bar]
  ])
  return markdownTable(['what happens to the node', 'times', 'p50', 'max', 'bar'], rows)
}
