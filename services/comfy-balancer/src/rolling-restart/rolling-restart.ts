import { setTimeout as pause } from 'node:timers/promises'
import type { Client } from '@comfy-balancer/client/client'
import { restartNode } from '@comfy-balancer/contract/endpoints/nodes'
import type { Node } from '@comfy-balancer/contract/node'

/** Which nodes (all that are ready, when not said), how many at a time, what each must run afterwards, and how long one may take. */
export type Plan = {
  readonly nodes: readonly string[] | undefined
  readonly atOnce: number
  readonly canary: Record<string, unknown> | undefined
  readonly withinMs: number
}

/** The fleet is left as it is; the message says where the restart stands and why it does not go on. */
export class Stopped extends Error {}

const pollMs = 500

/**
 * Restarts the ComfyUI of node after node. A node's turn comes only when as many nodes are ready as at the beginning, so that never more than
 * `atOnce` are missing through this; it ends when the node is ready again and has run the canary workflow. Throws `Stopped` at the first
 * node that does not come back.
 */
export const rollingRestart = async (client: Client, plan: Plan, say: (line: string) => void): Promise<void> => {
  const { chosen, ready } = choose(await client.nodes(), plan)
  say(`${chosen.length} of ${ready} ready nodes, ${plan.atOnce} at a time: ${chosen.join(', ')}`)
  for (let first = 0; first < chosen.length; first += plan.atOnce) {
    const batch = chosen.slice(first, first + plan.atOnce)
    await untilReady(client, ready, plan, batch)
    await Promise.all(batch.map(id => restart(client, id, plan, say)))
  }
  say(`done: ${chosen.length} nodes restarted and verified`)
}

const choose = (nodes: readonly Node[], { nodes: wanted, atOnce }: Plan) => {
  const ready = nodes.filter(({ state }) => state === 'ready')
  const absent = (wanted ?? []).filter(id => !ready.some(node => node.id === id))
  if (absent.length > 0) throw new Stopped(`not ready, or not known: ${absent.join(', ')}; nothing was restarted`)
  const chosen = ready.filter(({ id }) => wanted?.includes(id) ?? true)
  if (chosen.length === 0) throw new Stopped('no node is ready; nothing was restarted')
  const foreign = chosen.filter(({ comfyui }) => !comfyui?.care?.owned).map(({ id }) => id)
  if (foreign.length > 0)
    throw new Stopped(
      `the comfy-service of ${foreign.join(', ')} did not start its ComfyUI (COMFYUI_COMMAND); nothing was restarted. --nodes names the others`
    )
  if (atOnce > 1 && atOnce >= ready.length)
    throw new Stopped(`${atOnce} at once would leave none of ${ready.length} ready nodes; nothing was restarted`)
  return { chosen: chosen.map(({ id }) => id), ready: ready.length }
}

const untilReady = async (client: Client, count: number, plan: Plan, next: readonly string[]): Promise<void> => {
  let ready = 0
  await waitFor(
    plan.withinMs,
    async () => {
      ready = (await client.nodes()).filter(({ state }) => state === 'ready').length
      return ready >= count
    },
    () => `only ${ready} of ${count} nodes are ready, so that ${next.join(', ')} must not be restarted`
  )
}

const restart = async (client: Client, id: string, plan: Plan, say: (line: string) => void): Promise<void> => {
  const startedMs = performance.now()
  const seconds = () => `${((performance.now() - startedMs) / 1_000).toFixed(1)} s`
  await client.call(restartNode, { params: { id } })
  say(`${id}: finishes what it runs, then restarts`)
  let node: Node | undefined
  await waitFor(
    plan.withinMs,
    async () => {
      node = (await client.nodes()).find(one => one.id === id)
      const care = node?.comfyui?.care
      if (care?.state === 'failed') throw new Stopped(`${id} does not come back: ${care.reason}`)
      return node?.state === 'ready' && !node.restarting
    },
    () => `${id} has not come back after ${seconds()}: it is ${node?.state}${reasonOf(node)}`
  )
  say(`${id}: back after ${seconds()}`)
  await verify(client, id, plan)
  say(`${id}: verified after ${seconds()}`)
}

const reasonOf = (node: Node | undefined): string => {
  const reason = node?.comfyui?.care?.reason
  return reason ? `; ${reason}` : ''
}

/** Runs the canary on this very node. */
const verify = async (client: Client, id: string, { canary = smallPicture(), withinMs }: Plan): Promise<void> => {
  const request = { prompt: canary, nodeSelector: { node: id }, priority: 100 }
  const metadata = { canary: id }
  const { id: task } = await client.generate({ ...request, deadlineSeconds: Math.ceil(withinMs / 1_000), metadata })
  const { state, error } = await client.wait(task, { timeoutMs: withinMs + 10_000 })
  if (state !== 'succeeded')
    throw new Stopped(`${id} is back, but its canary ${task} is ${state}${error ? `: ${error.detail}` : ''}`)
}

/** Nothing that any ComfyUI lacks, and of a colour that no cache knows. */
const smallPicture = (): Record<string, unknown> => ({
  '1': {
    class_type: 'EmptyImage',
    inputs: { width: 64, height: 64, batch_size: 1, color: Math.floor(Math.random() * 0xffffff) }
  },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'canary' } }
})

const waitFor = async (withinMs: number, isSo: () => Promise<boolean>, otherwise: () => string): Promise<void> => {
  const endMs = performance.now() + withinMs
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Stopped(otherwise())
    await pause(pollMs)
  }
}
