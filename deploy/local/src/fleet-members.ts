import { type Client, createClient } from '@comfy-balancer/client/client'
import type { Node } from '@comfy-balancer/contract/node'
import type { FleetNode } from './fleet.ts'
import { until } from './until.ts'

const joinWithinMs = 15_000

/**
 * Waits until every balancer sees every node ready, with its ComfyUI up and, where that is simulated, its models known; where only an API
 * key could ask for that (`isLocked`), until every node calls itself ready. Gives those that did not come within 15 s.
 */
export const waitForNodes = async (
  balancerUrls: readonly string[],
  nodes: readonly FleetNode[],
  isLocked: boolean
): Promise<FleetNode[]> => {
  const clients = balancerUrls.map(baseUrl => createClient({ baseUrl, tries: 1, timeoutMs: 2_000 }))
  let absent = [...nodes]
  await until(async () => {
    absent = isLocked ? await notReady(nodes) : await notSeen(clients, nodes)
    return absent.length === 0 || undefined
  }, joinWithinMs)
  return absent
}

const notSeen = async (clients: readonly Client[], nodes: readonly FleetNode[]): Promise<FleetNode[]> => {
  const seen = await Promise.all(clients.map(client => client.nodes().catch(() => [])))
  return nodes.filter(node => seen.some(list => !list.some(one => one.id === node.id && hasJoined(one, node))))
}

const notReady = async (nodes: readonly FleetNode[]): Promise<FleetNode[]> => {
  const isReady = ({ url }: FleetNode) =>
    fetch(`${url}/readyz`, { signal: AbortSignal.timeout(2_000) }).then(
      ({ ok }) => ok,
      () => false
    )
  const ready = await Promise.all(nodes.map(isReady))
  return nodes.filter((_, i) => !ready[i])
}

const hasJoined = (seen: Node, { simulator }: FleetNode): boolean =>
  seen.state === 'ready' && seen.comfyui?.up === true && (simulator === undefined || seen.models.length > 0)
