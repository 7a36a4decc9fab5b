import { setTimeout as pause } from 'node:timers/promises'
import { createClient } from '@comfy-balancer/client/client'
import { drainNode as drain, resumeNode as resume } from '@comfy-balancer/contract/endpoints/nodes'
import { until } from '@comfy-balancer/local/until'
import { frontsOf, holding, type MakeFault, withNode } from './fault.ts'

const stormSize = 12
const askMs = 20_000

/** A workflow that takes down every ComfyUI that runs it; posted again it may be refused. */
export const poison: MakeFault = async ({ crowd }) => {
  await crowd.post({ kind: 'poison', ms: 100 })
  return ['the fleet']
}

/** A dozen tasks, cancelled at once through all balancers. */
export const cancelStorm: MakeFault = async ({ rig, caller, crowd }) => {
  const fronts = frontsOf(rig.balancers)
  const posted = await Promise.all(Array.from({ length: stormSize }, () => crowd.post({ kind: 'picture', ms: 600 })))
  await Promise.all(
    posted.flatMap((one, i) => (one ? [caller.cancel(fronts[i % fronts.length]!, one.key, one.task)] : []))
  )
  return posted.some(Boolean) ? ['the fleet'] : undefined
}

/** An operator drains a node and resumes it. */
export const drainNode: MakeFault = (scene, { pick, forMs }) =>
  withNode(scene, pick, async ({ id }) => {
    const { balancers, apiKeys } = scene.rig
    const ask = (endpoint: typeof drain | typeof resume) =>
      until(async () => {
        for (const { url } of balancers) {
          const client = createClient({ baseUrl: url, tries: 1, timeoutMs: 2_000, apiKey: apiKeys[0] ?? '' })
          const answer = await client.call(endpoint, { params: { id } }).catch(() => undefined)
          if (answer) return true
        }
        return undefined
      }, askMs)
    const isDrained = await ask(drain)
    await pause(forMs)
    return (await ask(resume)) === true && isDrained === true
  })

/** Redis may not take one more byte for a while: nothing is accepted, everything else goes on. */
export const memoryFull: MakeFault = async ({ rig, held }, { forMs }) => {
  if (held.has('redis')) return undefined
  return holding(held, ['redis'], async () => {
    try {
      await rig.ledger.config('SET', 'maxmemory', '1mb')
      await pause(forMs)
      return true
    } catch {
      return false
    } finally {
      await rig.ledger.config('SET', 'maxmemory', '0').catch(() => undefined)
    }
  })
}
