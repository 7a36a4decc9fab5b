import type { GraphNode } from './workflow.ts'

const numberIn = (graphNode: GraphNode, input: string): number | undefined => {
  const found = graphNode.inputs[input]
  return found?.kind === 'literal' && typeof found.value === 'number' && found.value > 0 ? found.value : undefined
}

const megapixels = (graphNode: GraphNode): number => {
  const width = numberIn(graphNode, 'width')
  const height = numberIn(graphNode, 'height')
  if (width === undefined || height === undefined) return 0
  return (width * height * (numberIn(graphNode, 'batch_size') ?? 1) * (numberIn(graphNode, 'length') ?? 1)) / 1e6
}

/**
 * The size of a workflow in megapixel·steps: what two runs with the same need differ by. 1 where it names neither. Rough by design: a log
 * error of 1 costs a few per cent (dispatch.md).
 */
export const workOf = (graphNodes: readonly GraphNode[]): number => {
  const steps = graphNodes.reduce((sum, graphNode) => sum + (numberIn(graphNode, 'steps') ?? 0), 0)
  const size = Math.max(0, ...graphNodes.map(megapixels))
  return Math.min(1e6, Math.max(0.01, (steps || 1) * (size || 1)))
}
