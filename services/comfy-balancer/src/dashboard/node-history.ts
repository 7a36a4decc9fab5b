import type { NodeHistory } from '@comfy-balancer/contract/fleet-update'
import type { NodeRecord } from '@comfy-balancer/task-store/node-record'

export const sampleSeconds = 5
const samples = 120

/** The last ten minutes of every node, in memory; a node that leaves the ledger is forgotten. */
export const createNodeHistory = () => {
  const known = new Map<string, NodeHistory>()

  return {
    /** Everything that is remembered, by node. */
    all: (): Record<string, NodeHistory> => Object.fromEntries(known),

    /** Takes a sample of each node; answers the samples alone. A node that is not alive gives none, which shows as a gap. */
    sample(nodes: readonly NodeRecord[], isAlive: (node: NodeRecord) => boolean): Record<string, NodeHistory> {
      const present = new Set(nodes.map(node => node.id))
      for (const id of known.keys()) if (!present.has(id)) known.delete(id)
      const taken = nodes.map(node => [node.id, isAlive(node) ? sampleOf(node) : gap] as const)
      for (const [id, sample] of taken) append(historyOf(id), sample)
      return Object.fromEntries(taken)
    }
  }

  function historyOf(id: string): NodeHistory {
    const history = known.get(id) ?? { utilization: [], vram: [], busy: [] }
    known.set(id, history)
    return history
  }
}

const gap: NodeHistory = { utilization: [null], vram: [null], busy: [null] }

const percent = (share: number | null): number | null =>
  share === null || !Number.isFinite(share) ? null : Math.round(100 * Math.min(1, Math.max(0, share)))

const sampleOf = ({ report, slot }: NodeRecord): NodeHistory => {
  const gpu = report.gpus[0]
  const vram = gpu?.vramUsedBytes != null && gpu.vramTotalBytes ? gpu.vramUsedBytes / gpu.vramTotalBytes : null
  return { utilization: [percent(gpu?.utilization ?? null)], vram: [percent(vram)], busy: [slot ? 100 : 0] }
}

const append = (history: NodeHistory, sample: NodeHistory): void => {
  for (const series of ['utilization', 'vram', 'busy'] as const) {
    history[series].push(sample[series][0] ?? null)
    if (history[series].length > samples) history[series].shift()
  }
}
