import type { Caller, Front } from '../callers/caller.ts'
import type { Crowd } from '../callers/crowd.ts'
import type { Rig, RigBalancer, RigNode } from '../rig/rig.ts'

/** Every kind of fault that the rig knows; dispatch.md lists what they stand for. */
export const faultKinds = [
  'freeze-service-past-lease',
  'silence-service-past-lease',
  'kill-service',
  'kill-balancer',
  'kill-comfyui',
  'freeze-balancer',
  'freeze-comfyui',
  'kill-balancer-after-claim',
  'cancel-after-claim',
  'cancel-in-silence',
  'kill-redis',
  'memory-full',
  'cut-links',
  'lose-reply',
  'latency',
  'partition-half',
  'comfyui-out-of-memory',
  'comfyui-hang',
  'comfyui-silent-websocket',
  'comfyui-lost-history',
  'comfyui-late-answer',
  'comfyui-dead-worker',
  'comfyui-done-twice',
  'black-hole',
  'poison',
  'cancel-storm',
  'skew-clock',
  'drain-node',
  'rolling-restart'
] as const
export type FaultKind = (typeof faultKinds)[number]

/** A fault as the plan has it: when, ms from the start; `pick` (0 to 1) chooses among what can be hit, `forMs` is how long it lasts. */
export type PlannedFault = {
  readonly atMs: number
  readonly kind: FaultKind
  readonly pick: number
  readonly forMs: number
}

/** A fault that happened, to whom and when, in wall-clock ms. */
export type InjectedFault = {
  readonly kind: FaultKind
  readonly targets: readonly string[]
  readonly fromMs: number
  readonly toMs: number
}

/** Where faults are made. */
export type Scene = {
  readonly rig: Rig
  readonly caller: Caller
  readonly crowd: Crowd
  /** What a fault has in its hands now; another leaves it alone. */
  readonly held: Set<string>
  /** Writes down a fault that happened. */
  readonly note: (fault: InjectedFault) => void
  /** Aborts when the time for faults is over. */
  readonly signal: AbortSignal
}

/** Makes one fault and takes it back; answers whom it hit, or undefined when there was nobody to hit. */
export type MakeFault = (scene: Scene, planned: PlannedFault) => Promise<readonly string[] | undefined>

/** The values, beginning with the one that `pick` falls on. */
export const from = <T>(values: readonly T[], pick: number): T[] => {
  const start = Math.floor(pick * values.length)
  return [...values.slice(start), ...values.slice(0, start)]
}

/** Takes the first of these that is up, thawed and in nobody's hands, does `work` with it and lets it go. */
export const withNode = async (
  { rig, held }: Scene,
  pick: number,
  work: (node: RigNode) => Promise<boolean>
): Promise<readonly string[] | undefined> => {
  const node = from(rig.nodes, pick).find(({ id, service, comfyui }) => !held.has(id) && service.isUp && comfyui.isUp)
  return node && holding(held, [node.id], () => work(node))
}

/** The same for a balancer. */
export const withBalancer = async (
  { rig, held }: Scene,
  pick: number,
  work: (balancer: RigBalancer) => Promise<boolean>
): Promise<readonly string[] | undefined> => {
  const balancer = from(rig.balancers, pick).find(({ id, program }) => !held.has(id) && program.isUp)
  return balancer && holding(held, [balancer.id], () => work(balancer))
}

/** Holds these names while `work` goes on; answers them when it did something. */
export const holding = async (
  held: Set<string>,
  names: readonly string[],
  work: () => Promise<boolean>
): Promise<readonly string[] | undefined> => {
  for (const name of names) held.add(name)
  try {
    return (await work()) ? names : undefined
  } finally {
    for (const name of names) held.delete(name)
  }
}

/** The balancers as callers see them. */
export const frontsOf = (balancers: readonly RigBalancer[]): Front[] => balancers.map(({ id, url }) => ({ id, url }))

/** The task and token in a node's slot; undefined when it is empty or Redis is away. */
export const slotOf = async (rig: Rig, node: string): Promise<{ task: string; token: string } | undefined> => {
  try {
    const [task, token] = await rig.ledger.hmget(`${rig.prefix}node:${node}`, 'slotTask', 'slotToken')
    return task && token ? { task, token } : undefined
  } catch {
    return undefined
  }
}
