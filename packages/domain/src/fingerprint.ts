import type { GraphInput, GraphNode, Workflow } from './workflow.ts'

const isSeed = (input: string): boolean => /(^|_)seed$/.test(input)

const isIncidental = (input: string, value: GraphInput): boolean =>
  value.kind === 'literal' && (input === 'filename_prefix' || (typeof value.value === 'number' && isSeed(input)))

/**
 * A text that is equal for workflows that do the same but for their seeds and file names: the graph with its literals, in a fixed order.
 * Made to be hashed.
 */
export const fingerprintText = ({ graphNodes }: Workflow): string =>
  JSON.stringify([...graphNodes.keys()].sort().map(id => essence(graphNodes.get(id)!)))

const essence = ({ id, classType, inputs }: GraphNode): unknown[] => {
  const told: unknown[] = [id, classType]
  for (const input of Object.keys(inputs).sort()) {
    const value = inputs[input]!
    if (isIncidental(input, value)) continue
    told.push(input, value.kind === 'link' ? [value.graphNode, value.slot] : { is: value.value })
  }
  return told
}
