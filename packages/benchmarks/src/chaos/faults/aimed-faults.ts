import { setTimeout as pause } from 'node:timers/promises'
import { until } from '@comfy-balancer/local/until'
import type { RigNode } from '../rig/rig.ts'
import { promptsIn } from '../rig/simulator.ts'
import { timers } from '../timers.ts'
import { from, frontsOf, holding, type MakeFault, type Scene, slotOf, withBalancer } from './fault.ts'

const findMs = 3_000
const trapMs = 5_000
const afterwardsMs = 1_200
const slowMs = 350
/** A claim names what it predicts, a completion the digest of its output, an acceptance the outputs asked for. */
export const claim = /evalsha[\s\S]*"executionSeconds"/i
const settlement = /evalsha[\s\S]*"sha256"/i
const acceptance = /evalsha[\s\S]*outputNodes/i
const anyScript = /evalsha/i

/** A node at work whose attempt outlives its lease: the result comes when another attempt has the task, and must be refused. */
const outliveLease = async (
  scene: Scene,
  pick: number,
  act: (node: RigNode, isLost: () => Promise<boolean>, task: string) => Promise<void>
): Promise<readonly string[] | undefined> => {
  const { rig, held, signal } = scene
  const found = await until(async () => {
    for (const node of from(rig.nodes, pick)) {
      if (held.has(node.id) || !node.service.isUp || node.service.isFrozen || !node.comfyui.isUp) continue
      const slot = await slotOf(rig, node.id)
      if (slot && ((await promptsIn(node.comfyUiUrl))?.length ?? 0) > 0 && !held.has(node.id)) return { node, slot }
    }
    return signal.aborted ? null : undefined
  }, findMs)
  if (!found) return undefined
  const { node, slot } = found
  const isLost = async () => {
    const lost = await until(async () => {
      const isOver = (await promptsIn(node.comfyUiUrl))?.length === 0
      return isOver && (await slotOf(rig, node.id))?.token !== slot.token ? true : undefined
    }, timers.leaseMs * 3)
    return lost === true
  }
  return holding(held, [node.id], async () => {
    await act(node, isLost, slot.task)
    return true
  })
}

/** Stopped and continued; its line to Redis is slow, so that it hears of its loss only after it has told its result. */
export const freezeServicePastLease: MakeFault = (scene, { pick }) =>
  outliveLease(scene, pick, async (node, isLost) => {
    node.toRedis.delay(slowMs)
    try {
      node.service.freeze()
      await isLost()
      node.service.thaw()
      await pause(afterwardsMs)
    } finally {
      node.service.thaw()
      node.toRedis.delay(0)
    }
  })

/** Nothing passes between it and Redis until another has its task; then everything it said arrives. */
export const silenceServicePastLease: MakeFault = (scene, { pick }) =>
  outliveLease(scene, pick, async (node, isLost) => {
    node.toRedis.stall()
    try {
      await isLost()
    } finally {
      node.toRedis.resume()
    }
    await pause(afterwardsMs)
  })

/** A task is cancelled while its node cannot hear of it: the slot ends by itself, and the task must stay cancelled. */
export const cancelInSilence: MakeFault = (scene, { pick }) =>
  outliveLease(scene, pick, async (node, isLost, task) => {
    node.toRedis.stall()
    try {
      await scene.caller.cancel(frontsOf(from(scene.rig.balancers, pick))[0]!, '', task)
      await isLost()
    } finally {
      node.toRedis.resume()
    }
  })

/** It has claimed a slot and dies before it hears so. */
export const killBalancerAfterClaim: MakeFault = (scene, { pick, forMs }) =>
  withBalancer(scene, pick, async ({ program, toRedis }) => {
    let revived: Promise<boolean> | undefined
    const isCaught = await trap(toRedis, claim, true, () => {
      revived = program.kill(forMs)
    })
    await revived
    return isCaught
  })

/** The task that was claimed just now is cancelled through another balancer, before its node has started it. */
export const cancelAfterClaim: MakeFault = async ({ rig, caller }, { pick }) => {
  const [claimer, other] = from(rig.balancers, pick)
  if (!claimer) return undefined
  const [front] = frontsOf([other ?? claimer])
  let cancelled: Promise<boolean> | undefined
  const isCaught = await trap(claimer.toRedis, claim, false, request => {
    const task = /task_[0-9a-f]{32}/.exec(request)?.[0]
    if (task) cancelled = caller.cancel(front!, '', task)
  })
  await cancelled
  return isCaught ? [claimer.id] : undefined
}

/** A script runs, and its answer is lost with the connection: the client sends it again. */
export const loseReply: MakeFault = async ({ rig }, { pick }) => {
  const [balancer] = from(rig.balancers, (pick * 7) % 1)
  const [node] = from(rig.nodes, (pick * 13) % 1)
  const kinds = [
    { link: balancer?.toRedis, match: claim },
    { link: balancer?.toRedis, match: acceptance },
    { link: node?.toRedis, match: settlement },
    { link: node?.toRedis, match: anyScript }
  ]
  const { link, match } = kinds[Math.floor(pick * kinds.length)]!
  return link && (await trap(link, match, true, () => undefined)) ? [link.name] : undefined
}

/** Waits a while for a matching command on the link; true when it came, its answer then lost or not. */
export const trap = async (
  link: RigNode['toRedis'],
  match: RegExp,
  losesReply: boolean,
  onReply: (request: string) => void
): Promise<boolean> => {
  let isCaught = false
  link.setTrap({
    match,
    losesReply,
    onReply: request => {
      isCaught = true
      onReply(request)
    }
  })
  await until(() => (isCaught ? true : undefined), trapMs)
  link.setTrap(undefined)
  return isCaught
}
