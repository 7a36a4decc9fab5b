import { modelsOf } from '@comfy-balancer/domain/capability'
import { type NodeAhead, needsAhead, type Outlook, type Sized } from '@comfy-balancer/domain/eta'
import type { NodeView } from '@comfy-balancer/domain/policy'
import { isCapable } from '@comfy-balancer/domain/suitability'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { NodeRegistry } from './node-registry.ts'

/** Callers come in crowds; what they are told may be so old. */
const keptMs = 1_000

const nothingLearned = { load: undefined, execution: undefined }

/** What nodes are at and what waits: one bounded look a second at most, and none while nobody asks. */
export const createOutlook = ({ ledger, registry }: { ledger: Ledger; registry: NodeRegistry }) => {
  let known: { readonly atMs: number; readonly outlook: Promise<Outlook> } | undefined

  const read = async (): Promise<Outlook> => {
    const { candidates, ...look } = await ledger.waiting.look([])
    const { nodes, nowMs } = look.nodes.length > 0 ? look : await ledger.nodes.list()
    const views = (await registry.views(nodes, nowMs)).filter(node => node.available)
    const usual = await ledger.waiting.usual([...new Set(candidates.map(task => task.needId))])
    const ahead = new Map(views.map(view => [view, nodeAhead(view, nowMs)]))
    const able = new Map<string, NodeAhead[]>()
    return {
      nowMs,
      nodes: [...ahead.values()],
      nodesFor: ({ needId, need }: Sized) => {
        const found = able.get(needId) ?? views.filter(view => isCapable(view, need)).map(view => ahead.get(view)!)
        able.set(needId, found)
        return found
      },
      needs: needsAhead(candidates, needId => usual.get(needId) ?? nothingLearned)
    }
  }

  return (): Promise<Outlook> => {
    if (!known || performance.now() - known.atMs > keptMs) known = { atMs: performance.now(), outlook: read() }
    return known.outlook
  }
}

const nodeAhead = ({ attempt, resident, pace }: NodeView, nowMs: number): NodeAhead => ({
  holds: attempt ? new Set(modelsOf(attempt.need)) : resident,
  endsMs: attempt && nowMs + (attempt.predictedSeconds - attempt.elapsedSeconds) * 1000,
  pace
})
