import type { Flaw, GraphInput, GraphNode, Workflow } from '@comfy-balancer/domain/workflow'
import { parse, stringify } from 'lossless-json'
import { flawsOfText } from './graph-text.ts'
import { isRecord, recordOf, stringOf, type Unchecked } from './record.ts'

const maxFlaws = 20

/** Bounds of a request's graph. A deeper or larger one is a flaw, not an error. */
export type GraphLimits = { readonly maxGraphNodes: number; readonly maxDepth: number }
const defaultLimits: GraphLimits = { maxGraphNodes: 5000, maxDepth: 64 }

/** A graph, or what is wrong with it. */
export type ReadGraph = { readonly workflow: Workflow } | { readonly flaws: readonly Flaw[] }

const pointer = (...parts: string[]): string =>
  parts.map(part => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')

/** ComfyUI takes every list of two with a text and a number (Python counts booleans) as a link, wherever it stands. */
const graphInput = (value: unknown): GraphInput => {
  if (Array.isArray(value) && value.length === 2 && typeof value[0] === 'string') {
    const slot: unknown = value[1]
    if (typeof slot === 'number' || typeof slot === 'boolean') {
      return { kind: 'link', graphNode: value[0], slot: Number(slot) }
    }
  }
  return { kind: 'literal', value }
}

const graphNode = (id: string, value: unknown): GraphNode | Flaw => {
  if (!isRecord(value)) {
    return { pointer: pointer('prompt', id), code: 'not-an-object', detail: 'A graph node must be an object' }
  }
  if (typeof value.class_type !== 'string' || value.class_type === '') {
    const detail = 'A graph node needs a class_type, a text that is not empty'
    return { pointer: pointer('prompt', id, 'class_type'), code: 'class-type-missing', detail }
  }
  if (!isRecord(value.inputs)) {
    const detail = 'A graph node needs inputs, an object (it may be empty)'
    return { pointer: pointer('prompt', id, 'inputs'), code: 'inputs-missing', detail }
  }
  const inputs = Object.fromEntries(Object.entries(value.inputs).map(([name, input]) => [name, graphInput(input)]))
  return { id, classType: value.class_type, title: stringOf(recordOf(value._meta).title), inputs }
}

const links = (node: GraphNode): { input: string; target: string }[] => {
  const found: { input: string; target: string }[] = []
  for (const [input, value] of Object.entries(node.inputs)) {
    if (value.kind === 'link') found.push({ input, target: value.graphNode })
  }
  return found
}

const danglingLinks = ({ graphNodes }: Workflow): Flaw[] =>
  [...graphNodes.values()].flatMap(node =>
    links(node)
      .filter(({ target }) => !graphNodes.has(target))
      .map(({ input, target }) => ({
        pointer: pointer('prompt', node.id, 'inputs', input),
        code: 'dangling-link',
        detail: `There is no graph node ${JSON.stringify(target)} to link to`
      }))
  )

type Step = { readonly id: string; readonly targets: readonly string[]; next: number }

const cycle = ({ graphNodes }: Workflow): Flaw | undefined => {
  const done = new Set<string>()
  const step = (id: string): Step => ({ id, targets: links(graphNodes.get(id)!).map(link => link.target), next: 0 })
  for (const start of graphNodes.keys()) {
    const path = done.has(start) ? [] : [step(start)]
    const onPath = new Set(path.map(({ id }) => id))
    while (path.length > 0) {
      const current = path.at(-1)!
      const target = current.targets[current.next++]
      if (target === undefined) {
        done.add(current.id)
        onPath.delete(current.id)
        path.pop()
      } else if (onPath.has(target)) {
        const ids = path.map(({ id }) => id)
        const round = [...ids.slice(ids.indexOf(target)), target].join(' → ')
        return { pointer: pointer('prompt', target), code: 'cycle', detail: `The graph goes in a circle: ${round}` }
      } else if (!done.has(target) && graphNodes.has(target)) {
        path.push(step(target))
        onPath.add(target)
      }
    }
  }
  return undefined
}

/** Reads a graph that came as strict JSON and checks that it is well formed. At most 20 flaws are reported, each with a JSON Pointer below `/prompt`. */
export const readGraph = (prompt: unknown, limits: Partial<GraphLimits> = {}): ReadGraph => {
  const { maxGraphNodes } = { ...defaultLimits, ...limits }
  if (!isRecord(prompt)) {
    const detail = 'prompt must be an object: the workflow in API format'
    return { flaws: [{ pointer: '/prompt', code: 'prompt-missing', detail }] }
  }
  const entries = Object.entries(prompt)
  if (entries.length === 0) {
    return { flaws: [{ pointer: '/prompt', code: 'prompt-empty', detail: 'The workflow has no graph nodes' }] }
  }
  if (entries.length > maxGraphNodes) {
    const detail = `The workflow has ${entries.length} graph nodes; the limit is ${maxGraphNodes}`
    return { flaws: [{ pointer: '/prompt', code: 'too-many-graph-nodes', detail }] }
  }
  const read = entries.map(([id, value]) =>
    id === ''
      ? { pointer: '/prompt/', code: 'id-empty', detail: 'The id of a graph node is empty' }
      : graphNode(id, value)
  )
  const flaws = read.filter(one => 'code' in one)
  if (flaws.length > 0) return { flaws: flaws.slice(0, maxFlaws) }
  const workflow = { graphNodes: new Map(read.filter(one => 'id' in one).map(node => [node.id, node])) }
  const broken = [...danglingLinks(workflow), cycle(workflow)].filter(flaw => flaw !== undefined)
  return broken.length > 0 ? { flaws: broken.slice(0, maxFlaws) } : { workflow }
}

/**
 * Reads the graph out of the text of a whole request body and checks that it is well formed: nothing of what it lets through kills
 * ComfyUI's worker. At most 20 flaws are reported, each with a JSON Pointer into the body.
 */
export const readRequest = (bodyText: string, limits: Partial<GraphLimits> = {}): ReadGraph => {
  const { maxDepth } = { ...defaultLimits, ...limits }
  const flaws = flawsOfText(bodyText, maxDepth, maxFlaws)
  if (flaws.length > 0) return { flaws }
  let body: unknown
  try {
    body = JSON.parse(bodyText)
  } catch (error) {
    return { flaws: [{ pointer: '', code: 'malformed-json', detail: (error as Error).message.slice(0, 200) }] }
  }
  return readGraph(recordOf(body).prompt, limits)
}

/** What is changed in a workflow's text before it goes to ComfyUI; see `submission`. */
export type Edits = {
  readonly promptId: string
  readonly clientId: string
  /** Folder below ComfyUI's output folder, unique to the attempt, without a slash at its end. */
  readonly prefix: string
  /** Output graph nodes, and how each is made unique to the attempt. */
  readonly marks: ReadonlyMap<string, 'prefix' | 'mark'>
  /** Graph node → input → the text that replaces the caller's text (a model's spelling, an upload's returned name). */
  readonly values?: ReadonlyMap<string, ReadonlyMap<string, string>>
}

/** Input that no node declares: ComfyUI hashes it into the cache key and does not hand it to the node. */
const markInput = 'comfy_balancer'

/** A file system takes 255; ComfyUI adds a number and an extension. */
const maxNameBytes = 200

/** A name that ComfyUI can write, and hands out again: it refuses any that holds two dots in a row. */
const lastPart = (prefix: string): string => {
  const part = prefix.split(/[/\\]/).findLast(piece => piece !== '' && piece !== '.' && piece !== '..') ?? 'ComfyUI'
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed
  const plain = part.replace(/[\x00-\x1f<>:"|?*]/g, '_').replaceAll('..', '_')
  return Buffer.from(plain)
    .subarray(0, maxNameBytes)
    .toString()
    .replace(/\ufffd+$/, '')
}

const markOutput = (inputs: Unchecked, how: 'prefix' | 'mark', edits: Edits): void => {
  if (how === 'prefix' && typeof inputs.filename_prefix === 'string') {
    inputs.filename_prefix = `${edits.prefix}/${lastPart(inputs.filename_prefix)}`
    return
  }
  inputs[markInput] = edits.promptId
}

const replaceTexts = (inputs: Unchecked, values: ReadonlyMap<string, string>): void => {
  for (const [input, value] of values) if (typeof inputs[input] === 'string') inputs[input] = value
}

/**
 * The text to post to ComfyUI's /prompt: the caller's graph with every digit of its numbers, under our ids. Each output graph node
 * is made unique to the attempt, so that a cached run never reports another run's file: a `filename_prefix` becomes
 * `<prefix>/<last part of what the caller chose>` (so one that would leave the output folder still gives its picture), any other gets
 * an input that only changes its cache key. Of `extra_data` only `extra_pnginfo` is kept. Throws for a body that `readRequest` refuses.
 */
export const submission = (bodyText: string, edits: Edits): string => {
  const body = recordOf(parse(bodyText))
  const prompt = recordOf(body.prompt)
  for (const [id, how] of edits.marks) markOutput(recordOf(recordOf(prompt[id]).inputs), how, edits)
  for (const [id, values] of edits.values ?? []) replaceTexts(recordOf(recordOf(prompt[id]).inputs), values)
  const pngInfo = recordOf(body.extra_data).extra_pnginfo
  const extraData = isRecord(pngInfo) ? { extra_pnginfo: pngInfo } : {}
  return stringify({ prompt, client_id: edits.clientId, prompt_id: edits.promptId, extra_data: extraData }) ?? ''
}
