import type { Need } from '@comfy-balancer/contract/need'
import { hasLabels, lacking, modelsOf } from './capability.ts'
import type { Candidate, NodeView } from './policy.ts'

/** True when a node has the labels, classes and files that a need asks for. */
export const isCapable = (node: NodeView, need: Need): boolean =>
  hasLabels(need, node.labels) && lacking(need, node.capability).length === 0

const bytesOf = (node: NodeView, models: Iterable<string>): number[] =>
  [...models].map(model => node.capability.modelBytes(model) ?? 0)

/** What a node keeps in VRAM: what it holds and what it is about to load. */
const heldBytes = (node: NodeView): number => {
  const models = new Set([...node.resident, ...(node.attempt ? modelsOf(node.attempt.need) : [])])
  return bytesOf(node, models).reduce((sum, bytes) => sum + bytes, 0)
}

/** True when the largest model of a need fits into the VRAM that others on the same GPU leave, or either is unknown. */
export const fits = (node: NodeView, need: Need, nodes: readonly NodeView[]): boolean => {
  if (node.vramTotalBytes === undefined) return true
  const sharers = nodes.filter(other => other !== node && other.gpuUuid !== undefined && other.gpuUuid === node.gpuUuid)
  const left = node.vramTotalBytes - sharers.reduce((sum, other) => sum + heldBytes(other), 0)
  return Math.max(0, ...bytesOf(node, modelsOf(need))) <= left
}

/** Whether a node may take a task at all. */
export type Suitability = (node: NodeView, task: Candidate) => boolean

/** The filters, asked once for each need. A node without room is passed over while another capable one has it. */
export const suitability = (nodes: readonly NodeView[]): Suitability => {
  const capable = new Map<string, ReadonlySet<NodeView>>()
  const capableOf = (task: Candidate): ReadonlySet<NodeView> => {
    const known = capable.get(task.needId)
    if (known) return known
    const able = nodes.filter(node => node.available && isCapable(node, task.need))
    const roomy = able.filter(node => fits(node, task.need, nodes))
    const found = new Set(roomy.length > 0 ? roomy : able)
    capable.set(task.needId, found)
    return found
  }
  return (node, task) => {
    const able = largeEnough(capableOf(task), task)
    if (!able.has(node)) return false
    if (task.stay !== undefined && [...able].some(other => other.id === task.stay)) return node.id === task.stay
    return !task.avoid.includes(node.id) || [...able].every(other => task.avoid.includes(other.id))
  }
}

const largeEnough = (nodes: ReadonlySet<NodeView>, { vramAboveBytes }: Candidate): ReadonlySet<NodeView> =>
  vramAboveBytes === undefined
    ? nodes
    : new Set([...nodes].filter(({ vramTotalBytes = Number.POSITIVE_INFINITY }) => vramTotalBytes > vramAboveBytes))
