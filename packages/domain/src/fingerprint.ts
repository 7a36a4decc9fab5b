import type { GraphInput, Workflow } from './workflow.ts'

const isSeed = (input: string): boolean => /(^|_)seed$/.test(input)

const isIncidental = (input: string, value: GraphInput): boolean =>
  value.kind === 'literal' && (input === 'filename_prefix' || (isSeed(input) && typeof value.value === 'number'))

/**
 * A text that is equal for workflows that do the same but for their seeds and file names: the graph with its literals, in a fixed order.
 * Made to be hashed.
 */
export const fingerprintText = (workflow: Workflow): string =>
  JSON.stringify(
    [...workflow.graphNodes.values()]
      .toSorted((a, b) => (a.id < b.id ? -1 : 1))
      .map(({ id, classType, inputs }) => [
        id,
        classType,
        Object.entries(inputs)
          .filter(([input, value]) => !isIncidental(input, value))
          .toSorted(([a], [b]) => (a < b ? -1 : 1))
          .map(([input, value]) => [input, value.kind === 'link' ? [value.graphNode, value.slot] : { is: value.value }])
      ])
  )
