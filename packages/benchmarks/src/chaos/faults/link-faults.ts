import { setTimeout as pause } from 'node:timers/promises'
import type { Link } from '../rig/link.ts'
import { from, holding, type MakeFault, type Scene } from './fault.ts'

/** Links of every kind, none of which another fault has in its hands. */
const freeLinks = ({ rig, held }: Scene, pick: number): Link[] => {
  const nodes = from(rig.nodes, pick).filter(({ id }) => !held.has(id))
  const balancers = from(rig.balancers, pick).filter(({ id }) => !held.has(id))
  const [a, b, c] = nodes
  return [a?.toRedis, b?.toComfyui, c?.fromBalancers, balancers[0]?.toRedis].filter(link => link !== undefined)
}

/** One connection of each kind is broken. */
export const cutLinks: MakeFault = async (scene, { pick }) => {
  const links = freeLinks(scene, pick)
  for (const link of links) link.cut()
  return links.length > 0 ? links.map(({ name }) => name) : undefined
}

/** One link of each kind is slow for a while. */
export const latency: MakeFault = async (scene, { pick, forMs }) => {
  const links = freeLinks(scene, pick)
  for (const link of links) link.delay(40 + Math.round(pick * 260))
  await pause(forMs)
  for (const link of links) link.delay(0)
  return links.length > 0 ? links.map(({ name }) => name) : undefined
}

/** Half of the nodes hear and say nothing for a while: the fleet's side of the cut cannot know whether they are dead. */
export const partitionHalf: MakeFault = async (scene, { pick, forMs }) => {
  const { rig, held } = scene
  const nodes = from(rig.nodes, pick)
    .filter(({ id }) => !held.has(id))
    .slice(0, Math.ceil(rig.nodes.length / 2))
  const links = nodes.flatMap(({ toRedis, fromBalancers }) => [toRedis, fromBalancers])
  return holding(
    held,
    nodes.map(({ id }) => id),
    async () => {
      for (const link of links) link.stall()
      await pause(forMs)
      for (const link of links) link.resume()
      return nodes.length > 0
    }
  )
}

/** kill -9 of Redis; what it had acknowledged must be there when it is back. */
export const killRedis: MakeFault = async ({ rig, held }, { forMs }) => {
  if (held.has('redis')) return undefined
  return holding(held, ['redis'], async () => rig.redis.kill(forMs))
}
