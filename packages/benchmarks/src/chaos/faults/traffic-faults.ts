import { setTimeout as pause } from 'node:timers/promises'
import { frontsOf, holding, type MakeFault } from './fault.ts'

const stormSize = 12

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
