import { createClient } from '@comfy-balancer/client/client'
import type { Node } from '@comfy-balancer/contract/node'
import type { FleetNode } from './fleet.ts'
import { until } from './until.ts'

const joinWithinMs = 15_000

/** Waits until every balancer sees every node ready, with its ComfyUI up and, where that is simulated, its models known; gives those that did not come within 15 s. */
export const waitForNodes = async (
  balancerUrls: readonly string[],
  nodes: readonly FleetNode[]
): Promise<FleetNode[]> => {
  const clients = balancerUrls.map(baseUrl => createClient({ baseUrl, tries: 1, timeoutMs: 2_000 }))
  let absent = [...nodes]
  await until(async () => {
    const seen = await Promise.all(clients.map(client => client.nodes().catch(() => [])))
    absent = nodes.filter(node => seen.some(list => !list.some(one => one.id === node.id && hasJoined(one, node))))
    return absent.length === 0 || undefined
  }, joinWithinMs)
  return absent
}

const hasJoined = (seen: Node, { simulator }: FleetNode): boolean =>
  seen.state === 'ready' && seen.comfyui?.up === true && (simulator === undefined || seen.models.length > 0)
