import type { Need } from '@comfy-balancer/contract/need'
import { modelsOf } from './capability.ts'
import type { Pace, Size } from './prediction.ts'

/** How a waiting task stands. */
export type Standing = {
  /** Tasks before it in its queue, which is that of its tenant and need. */
  readonly before: number
  readonly inQueue: number
  /** All that its tenant has waiting, whatever the need. */
  readonly ofTenant: number
  /** How many each other tenant has waiting. */
  readonly others: readonly number[]
}

/** What attempts with one need take on a node of pace 1: seconds of loading, and of execution per unit of work. */
export type Usual = { readonly load: number | undefined; readonly execution: number | undefined }

/** A task with one need, as far as its duration goes. */
export type Sized = Size & { readonly needId: string; readonly need: Need }

/** A node that takes tasks; `holds` and `endsMs` are of the attempt in its slot, if there is one. */
export type NodeAhead = {
  readonly holds: ReadonlySet<string>
  readonly endsMs: number | undefined
  readonly pace: Pace
}

/** A kind of tasks that wait: their share of all that wait, and what each takes in the mean on a node of pace 1. */
type NeedAhead = {
  readonly models: readonly string[]
  readonly share: number
  readonly seconds: number
  readonly loadSeconds: number
}

/** The fleet and what waits, as they were looked at a moment ago. */
export type Outlook = {
  readonly nowMs: number
  readonly nodes: readonly NodeAhead[]
  /** Those that may take a task. */
  readonly nodesFor: (task: Sized) => readonly NodeAhead[]
  readonly needs: ReadonlyMap<string, NeedAhead>
}

const sum = <Item>(items: Iterable<Item>, of: (item: Item) => number): number => {
  let total = 0
  for (const item of items) total += of(item)
  return total
}

/** What a task executes on a node of pace 1; undefined before any of its need has finished. */
export const usualSeconds = ({ work, knownSeconds }: Size, { execution }: Usual): number | undefined =>
  knownSeconds ?? (execution === undefined ? undefined : execution * work)

/** Sums up what waits, need by need. Needs of which nothing was learned are left out. */
export const needsAhead = (waiting: readonly Sized[], usual: (needId: string) => Usual): Outlook['needs'] => {
  const found = new Map<string, { models: string[]; count: number; total: number; loadSeconds: number }>()
  for (const task of waiting) {
    const known = usual(task.needId)
    const seconds = usualSeconds(task, known)
    if (seconds === undefined) continue
    const one = found.get(task.needId) ?? {
      ...{ models: modelsOf(task.need), loadSeconds: known.load ?? 0 },
      ...{ count: 0, total: 0 }
    }
    one.count++
    one.total += seconds
    found.set(task.needId, one)
  }
  const all = sum(found.values(), ({ count }) => count)
  return new Map(
    [...found].map(([needId, { models, loadSeconds, count, total }]) => [
      needId,
      { models, loadSeconds, share: count / all, seconds: total / count }
    ])
  )
}

const holdersOf = (models: readonly string[], nodes: readonly NodeAhead[]): NodeAhead[] =>
  nodes.filter(({ holds }) => models.every(model => holds.has(model)))

/**
 * Seconds until the result of a waiting task. Either it waits for a node that holds its models and for those of its need that go first there;
 * or for its turn in the whole fleet, with a load for each need that no node holds, and for its own load: whichever comes sooner. Tenants
 * take turns, and of each other one as many tasks go first as of its own. In its queue the shorter go first, so none ahead counts as longer
 * than itself. Undefined where nothing was learned or no node may take it.
 */
export const etaSeconds = (task: Sized, place: Standing, usual: Usual, outlook: Outlook): number | undefined => {
  const { nowMs, needs } = outlook
  const nodes = outlook.nodesFor(task)
  const seconds = usualSeconds(task, usual)
  if (seconds === undefined || nodes.length === 0) return undefined
  const pace = nodes.length / sum(nodes, node => 1 / (node.pace.execution ?? 1))
  const left = ({ endsMs = nowMs }: NodeAhead) => Math.max(0, endsMs - nowMs) / 1000

  const own = place.inQueue === 0 ? place.before : (place.before / place.inQueue) * place.ofTenant
  const turns = sum(place.others, waiting => Math.min(waiting, own + 1))
  const same = needs.get(task.needId)
  const alike = (place.before + turns * (same?.share ?? 0)) * Math.min(seconds, same?.seconds ?? seconds)
  const holders = holdersOf(modelsOf(task.need), nodes)
  const atHolders = Math.min(...holders.map(left)) + (alike * pace) / holders.length

  const each = needs.size === 0 ? seconds : sum(needs.values(), need => need.share * need.seconds)
  const loads = sum(needs.values(), one =>
    one === same || holdersOf(one.models, nodes).length > 0 ? 0 : one.loadSeconds
  )
  const isFree = nodes.filter(({ endsMs }) => endsMs === undefined).length > own + turns
  const inFleet = isFree ? 0 : (sum(nodes, left) + (own + turns) * each * pace + loads) / nodes.length

  const wait = Math.min(holders.length === 0 ? Number.POSITIVE_INFINITY : atHolders, inFleet + (usual.load ?? 0))
  return wait + seconds * pace
}
