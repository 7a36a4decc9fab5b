import type { Choice, Need } from '@comfy-balancer/contract/need'
import { type Capability, hasLabels, isModelFile, lacking } from './capability.ts'
import { isInputUrl } from './input-url.ts'
import { reachable } from './reachable.ts'
import { workOf } from './work.ts'
import type { Flaw, GraphNode, Workflow } from './workflow.ts'

/** A node seen in the last 24 h, healthy or not, as admission knows it. */
export type KnownNode = {
  readonly id: string
  readonly labels: Readonly<Record<string, string>>
  readonly capability: Capability
}

/** What dispatch needs to know of an accepted workflow. `work` is in megapixel·steps. */
export type Admission = { readonly need: Need; readonly outputs: readonly string[]; readonly work: number }

/** Either an admission, or why this workflow could never start: flaws of its own, or of every node. */
export type Verdict =
  | { readonly kind: 'admitted'; readonly admission: Admission }
  | { readonly kind: 'invalid'; readonly flaws: readonly Flaw[] }
  | { readonly kind: 'incapable'; readonly flaws: readonly Flaw[] }

/**
 * Decides whether some known node could run the workflow, and what it needs of a node. Refuses at once what could never start: no output,
 * a class, model or input file that no node has, a required input that is missing everywhere. Other options are ComfyUI's to judge: a class may take more than it lists. At least one node must be known.
 */
export const admit = (
  workflow: Workflow,
  labels: Readonly<Record<string, string>>,
  nodes: readonly KnownNode[]
): Verdict => {
  const missing = missingClasses(workflow, nodes)
  if (missing.length > 0) return { kind: 'incapable', flaws: missing }
  const outputs = outputsOf(workflow, nodes)
  if (outputs.length === 0) return { kind: 'invalid', flaws: [noOutput] }
  const used = graphNodesOf(workflow, reachable(workflow, outputs))
  const literals = used.flatMap(literalsOf)
  const foreign = literals.flatMap(foreignFiles)
  if (foreign.length > 0) return { kind: 'invalid', flaws: foreign }
  const gaps = used.flatMap(graphNode => missingInputs(graphNode, nodes))
  if (gaps.length > 0) return { kind: 'invalid', flaws: gaps }
  const files = literals.flatMap(literal => fileOf(literal, nodes) ?? [])
  const absent = files.flatMap(file => absentFile(file, nodes))
  if (absent.length > 0) return { kind: 'incapable', flaws: absent }
  const need = needOf(workflow, files, labels)
  const unmet = unmetNeed(need, nodes)
  if (unmet) return { kind: 'incapable', flaws: [unmet] }
  return { kind: 'admitted', admission: { need, outputs, work: workOf(used) } }
}

const noOutput: Flaw = {
  pointer: '/prompt',
  code: 'no-output',
  detail: 'the workflow has no output graph node (SaveImage, PreviewImage, …), so it would produce nothing'
}

const escapePointer = (part: string): string => part.replaceAll('~', '~0').replaceAll('/', '~1')
const inputPointer = (graphNode: GraphNode, input: string): string =>
  `/prompt/${escapePointer(graphNode.id)}/inputs/${escapePointer(input)}`

const graphNodesOf = (workflow: Workflow, ids: ReadonlySet<string>): GraphNode[] =>
  [...workflow.graphNodes.values()].filter(graphNode => ids.has(graphNode.id))

const missingClasses = (workflow: Workflow, nodes: readonly KnownNode[]): Flaw[] =>
  [...workflow.graphNodes.values()]
    .filter(graphNode => !nodes.some(node => node.capability.hasClass(graphNode.classType)))
    .map(graphNode => ({
      pointer: `/prompt/${escapePointer(graphNode.id)}/class_type`,
      code: 'unknown-class',
      detail: `no node has the class ${graphNode.classType} (asked: ${listed(nodes.map(node => node.id))})`
    }))

const outputsOf = (workflow: Workflow, nodes: readonly KnownNode[]): string[] =>
  [...workflow.graphNodes.values()]
    .filter(graphNode => nodes.some(node => node.capability.isOutput(graphNode.classType)))
    .map(graphNode => graphNode.id)

const withClass = (classType: string, nodes: readonly KnownNode[]): KnownNode[] =>
  nodes.filter(node => node.capability.hasClass(classType))

const missingInputs = (graphNode: GraphNode, nodes: readonly KnownNode[]): Flaw[] => {
  const able = withClass(graphNode.classType, nodes)
  return (able[0]?.capability.required(graphNode.classType) ?? [])
    .filter(input => !Object.hasOwn(graphNode.inputs, input))
    .filter(input => able.every(node => node.capability.required(graphNode.classType).includes(input)))
    .map(input => ({
      pointer: `/prompt/${escapePointer(graphNode.id)}/inputs`,
      code: 'missing-input',
      detail: `${graphNode.classType} needs the input ${input}`
    }))
}

/** The name of a file in a node's folder of outputs, as ComfyUI takes it in any class that reads files. */
const madeByTasks = /\.[A-Za-z0-9]{1,16} ?\[(output|temp)\]$/

/** A literal that may stand in an option list, as text: ComfyUI compares numbers and booleans there too. */
type Literal = { readonly graphNode: GraphNode; readonly choice: Choice }

const literalsOf = (graphNode: GraphNode): Literal[] => {
  const { classType, inputs } = graphNode
  const found: Literal[] = []
  for (const [input, given] of Object.entries(inputs)) {
    if (given.kind === 'link' || typeof given.value === 'object') continue
    found.push({ graphNode, choice: { classType, input, value: String(given.value) } })
  }
  return found
}

/** What tasks left on a node may be another tenant's, and is there on that node alone. */
const foreignFiles = ({ graphNode, choice: { input, value } }: Literal): Flaw[] => {
  if (!madeByTasks.test(value)) return []
  const detail = `${value.slice(-128)} is what a task left on some node: bring the file along in inputs`
  return [{ pointer: inputPointer(graphNode, input), code: 'not-an-input', detail }]
}

/** A literal that names a file which its node must have, or a URL of one. */
type FileName = Literal & { readonly isUpload: boolean }

const fileOf = (literal: Literal, nodes: readonly KnownNode[]): FileName | undefined => {
  const { classType, input, value } = literal.choice
  const isUpload = nodes.some(node => node.capability.isUpload(classType, input))
  const isFile = isUpload || isModelFile(value) || nodes.some(node => node.capability.listsModels(classType, input))
  return isFile ? { ...literal, isUpload } : undefined
}

const absentFile = ({ graphNode, choice }: FileName, nodes: readonly KnownNode[]): Flaw[] => {
  const able = withClass(choice.classType, nodes)
  if (able.some(node => node.capability.spelling(choice) !== undefined)) return []
  const detail = `no node has ${choice.value} for ${choice.classType}.${choice.input}; ${able.map(node => offered(node, choice)).join('; ')}`
  return [{ pointer: inputPointer(graphNode, choice.input), code: 'unknown-value', detail }]
}

const offered = (node: KnownNode, choice: Choice): string =>
  `${node.id} has ${listed(node.capability.options(choice.classType, choice.input) ?? [])}`

const listed = (words: readonly string[]): string =>
  words.length === 0 ? 'none' : words.slice(0, 8).join(', ') + (words.length > 8 ? ` and ${words.length - 8} more` : '')

const needOf = (workflow: Workflow, files: readonly FileName[], labels: Readonly<Record<string, string>>): Need => {
  const uploads = files.filter(({ isUpload, choice }) => isUpload && !isInputUrl(choice.value))
  return {
    classes: [...new Set([...workflow.graphNodes.values()].map(graphNode => graphNode.classType))].sort(),
    models: distinct(files.filter(({ isUpload }) => !isUpload)),
    files: distinct(uploads),
    labels: Object.fromEntries(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)))
  }
}

const distinct = (files: readonly FileName[]): Choice[] => {
  const keyed = files.map(({ choice }) => [`${choice.classType}\n${choice.input}\n${choice.value}`, choice] as const)
  const byKey = new Map(keyed)
  return [...byKey.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, choice]) => choice)
}

const unmetNeed = (need: Need, nodes: readonly KnownNode[]): Flaw | undefined => {
  const labelled = nodes.filter(node => hasLabels(need, node.labels))
  if (labelled.length === 0) {
    return {
      pointer: '/nodeSelector',
      code: 'unknown-label',
      detail: `no node has the labels ${JSON.stringify(need.labels)}`
    }
  }
  const gaps = labelled.map(node => ({ node, lacks: lacking(need, node.capability) }))
  if (gaps.some(({ lacks }) => lacks.length === 0)) return undefined
  const detail = gaps
    .slice(0, 8)
    .map(({ node, lacks }) => `${node.id} lacks ${listed(lacks)}`)
    .join('; ')
  return { pointer: '/prompt', code: 'no-single-node', detail: `no single node has everything: ${detail}` }
}
