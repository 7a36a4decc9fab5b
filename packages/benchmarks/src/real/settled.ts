import { createClient } from '@comfy-balancer/client/client'
import type { Fleet } from '@comfy-balancer/local/fleet'
import { until } from '@comfy-balancer/local/until'

const withinMs = 60_000

/** Waits until every node has told, since now, that nobody's prompt is left in its ComfyUI. Throws when that takes too long. */
export const untilSettled = async ({ balancerUrls, nodes }: Fleet): Promise<void> => {
  const client = createClient({ baseUrl: balancerUrls[0]! })
  const sinceMs = Date.now()
  const settled = await until(async () => {
    const free = (await client.nodes()).filter(
      ({ state, attempt, comfyui, lastHeartbeatAt }) =>
        state === 'ready' &&
        attempt === null &&
        comfyui?.up &&
        comfyui.queueRemaining === 0 &&
        Date.parse(lastHeartbeatAt ?? '') > sinceMs
    )
    return free.length === nodes.length || undefined
  }, withinMs)
  if (!settled) throw new Error(`the fleet does not come to rest: ${JSON.stringify(await client.nodes())}`)
}
