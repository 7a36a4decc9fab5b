import type { GraphInput, GraphNode, Workflow } from './workflow.ts'

const maxName = 128
const extension = /\.[A-Za-z0-9]{1,16}$/

/**
 * Why a name cannot stand for a file that comes along with a request; undefined when it can. It must look like a file's name and nothing
 * more, so that no text of a workflow is taken for one and no folder is meant.
 */
export const broughtNameFault = (name: string): string | undefined => {
  if (name.length > maxName) return `must have at most ${maxName} characters`
  if (/[\\/:\u2028\u2029]|\p{C}/u.test(name)) return 'must not hold a slash, a colon or a control character'
  if (name.includes('..') || /^[.\s]/.test(name))
    return 'must not begin with a dot or a space, nor hold two dots in a row'
  if (!extension.test(name)) return 'must end in an extension, such as .png'
  return undefined
}

/** The form in which two names that people would take for one are equal. */
export const foldName = (name: string): string => name.normalize('NFC').toLowerCase()

/** An input of a graph node whose text is the name of a file that comes along. */
export type BroughtUse = { readonly graphNode: string; readonly input: string; readonly name: string }

const isNamed = (input: GraphInput, names: ReadonlySet<string>): input is GraphInput & { value: string } =>
  input.kind === 'literal' && typeof input.value === 'string' && names.has(input.value)

/** Every place of a workflow that names a file which comes along, whatever the input's class says about it. */
export const broughtUsesOf = ({ graphNodes }: Workflow, names: ReadonlySet<string>): BroughtUse[] => {
  if (names.size === 0) return []
  return [...graphNodes.values()].flatMap(({ id, inputs }) =>
    Object.entries(inputs).flatMap(([input, given]) =>
      isNamed(given, names) ? [{ graphNode: id, input, name: given.value }] : []
    )
  )
}

/** The workflow as admission may see it: what comes along need not be on any node, so its names are no values there. */
export const withoutBrought = (workflow: Workflow, names: ReadonlySet<string>): Workflow => {
  if (names.size === 0) return workflow
  return { graphNodes: new Map([...workflow.graphNodes].map(([id, graphNode]) => [id, blankedIn(graphNode, names)])) }
}

const blankedIn = (graphNode: GraphNode, names: ReadonlySet<string>): GraphNode => ({
  ...graphNode,
  inputs: Object.fromEntries(
    Object.entries(graphNode.inputs).map(([input, given]) => [
      input,
      isNamed(given, names) ? { kind: 'literal', value: { brought: given.value } } : given
    ])
  )
})
