import type { Workflow } from './workflow.ts'

/** The graph nodes that the given ones depend on, themselves included: the part of the graph that ComfyUI will run. Unknown ids are left out. */
export const reachable = ({ graphNodes }: Workflow, from: Iterable<string>): Set<string> => {
  const found = new Set<string>()
  const pending = [...from]
  for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
    const graphNode = graphNodes.get(id)
    if (!graphNode || found.has(id)) continue
    found.add(id)
    for (const input of Object.values(graphNode.inputs)) if (input.kind === 'link') pending.push(input.graphNode)
  }
  return found
}
