import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { NodeRecord } from '@comfy-balancer/task-store/node-record'

/** Refused callers come in crowds; what they are told may be so old. */
const keptMs = 1_000
const least = 1
const most = 120
/** Nothing runs, or what runs is past what was predicted. */
const unknown = 10

/** In how many seconds the first attempt at work is predicted to end, so that the queue gets shorter: 1 to 120. */
export const createSoonestEnd = ({ nodes }: Pick<Ledger, 'nodes'>): (() => Promise<number>) => {
  let known: { readonly atMs: number; readonly seconds: Promise<number> } | undefined
  return () => {
    if (!known || performance.now() - known.atMs > keptMs) {
      known = { atMs: performance.now(), seconds: nodes.list().then(list => soonestOf(list.nodes, list.nowMs)) }
    }
    return known.seconds.catch(() => unknown)
  }
}

const soonestOf = (nodes: readonly NodeRecord[], nowMs: number): number => {
  const left = nodes.flatMap(({ slot }) => (slot ? [slot.predictedSeconds - (nowMs - slot.claimedMs) / 1_000] : []))
  const ahead = left.filter(seconds => seconds > 0)
  return ahead.length === 0 ? unknown : Math.min(most, Math.max(least, Math.ceil(Math.min(...ahead))))
}
