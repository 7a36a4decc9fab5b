import type { GraphNode, Workflow } from './workflow.ts'

/** The graph nodes that the given ones depend on, themselves included: the part of the graph that ComfyUI will run. */
export const reachable = (workflow: Workflow, from: Iterable<string>): ReadonlySet<string> => {
  const found = new Set<string>()
  const pending = [...from]
  while (pending.length > 0) {
    const id = pending.pop()
    if (id === undefined || found.has(id)) continue
    found.add(id)
    const graphNode = workflow.graphNodes.get(id)
    if (graphNode) pending.push(...linkedFrom(graphNode))
  }
  return found
}

const linkedFrom = (graphNode: GraphNode): string[] =>
  Object.values(graphNode.inputs).flatMap(input => (input.kind === 'link' ? [input.graphNode] : []))
