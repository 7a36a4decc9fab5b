import type { ModelCatalogue } from '../gpu/model-catalogue.ts'
import { isLink } from '../graph/dynamic-graph.ts'
import { PythonFloat } from '../json/python-float.ts'
import { isObject, type Json, type JsonObject } from '../json/python-json.ts'
import { type ClassTable, optionsOf } from '../nodes/class-table.ts'
import { learnedNode } from '../nodes/learned-node.ts'
import { mediaFilePattern, modelFilePattern } from '../nodes/model-file.ts'
import { fileOptions } from '../nodes/option-sources.ts'
import { readWorkflows } from './workflow-reader.ts'

/** What is taught: the class table and the model files. */
export interface LearnTargets {
  classes: ClassTable
  catalogue: ModelCatalogue
}

interface Evidence {
  inputs: Map<string, Json[]>
  links: Map<string, { source: string; slot: number }[]>
  /** How many nodes of the class there are, and how many of them give each input. */
  count: number
  given: Map<string, number>
  slots: number
  isLinkedTo: boolean
}

const learnedModelBytes = 2e9
const shownNames = /save|preview|show|output|display|combine|debug/i

/** Adds every class, model file and media file of the workflows in some folders, so that all of them validate and run. */
export function learnWorkflows(directories: string[], targets: LearnTargets): void {
  const workflows = directories.flatMap(readWorkflows)
  const evidence = new Map<string, Evidence>()
  for (const workflow of workflows) collect(workflow, evidence)
  for (const [name, seen] of evidence) {
    if (!targets.classes.get(name)) addClass(name, seen, evidence, targets.classes)
    else teachOptions(name, seen, targets.classes)
    teachFiles(name, seen, targets)
  }
}

function addClass(name: string, seen: Evidence, evidence: Map<string, Evidence>, classes: ClassTable): void {
  classes.add(name, { info: inferInfo(name, seen, evidence, classes), behaviour: learnedNode(isOutput(name, seen)) })
}

function collect(workflow: JsonObject, evidence: Map<string, Evidence>): void {
  const nodes = Object.entries(workflow).filter(([, node]) => isObject(node) && typeof node.class_type === 'string')
  const classOf = new Map(nodes.map(([id, node]) => [id, (node as JsonObject).class_type as string]))
  for (const name of classOf.values()) {
    if (!evidence.has(name)) evidence.set(name, noEvidence())
  }
  for (const [id, node] of nodes) {
    const seen = evidence.get(classOf.get(id) as string) as Evidence
    seen.count++
    const inputs = (node as JsonObject).inputs
    for (const [input, value] of Object.entries(isObject(inputs) ? inputs : {})) {
      const values = seen.inputs.get(input) ?? []
      seen.inputs.set(input, values)
      seen.given.set(input, (seen.given.get(input) ?? 0) + 1)
      if (!isLink(value)) {
        values.push(value as Json)
        continue
      }
      const source = evidence.get(classOf.get(value[0]) ?? '')
      if (!source) continue
      source.slots = Math.max(source.slots, value[1] + 1)
      source.isLinkedTo = true
      seen.links.set(input, [
        ...(seen.links.get(input) ?? []),
        { source: classOf.get(value[0]) as string, slot: value[1] }
      ])
    }
  }
}

function noEvidence(): Evidence {
  return { inputs: new Map(), links: new Map(), count: 0, given: new Map(), slots: 0, isLinkedTo: false }
}

function isOutput(name: string, seen: Evidence): boolean {
  return !seen.isLinkedTo || (shownNames.test(name) && seen.slots === 0)
}

/** Adds new options to the combos of a known class, and makes optional what some workflow leaves out. */
function teachOptions(name: string, seen: Evidence, classes: ClassTable): void {
  const input = classes.get(name)?.info.input as JsonObject
  const required = (input.required ?? {}) as JsonObject
  const optional = (input.optional ?? {}) as JsonObject
  for (const [inputName, config] of Object.entries(required)) {
    if ((seen.given.get(inputName) ?? 0) === seen.count) continue
    optional[inputName] = config as Json
    delete required[inputName]
    input.optional = optional
  }
  for (const specs of [required, optional]) {
    for (const [inputName, values] of seen.inputs) {
      const config = specs[inputName]
      if (!Array.isArray(config) || !Array.isArray(config[0]) || fileOptions(name, inputName)) continue
      specs[inputName] = [[...new Set([...optionsOf(config), ...values])], ...config.slice(1)]
    }
  }
}

/** Makes the files that inputs name exist: models by name and size, media by name. */
function teachFiles(name: string, seen: Evidence, { classes, catalogue }: LearnTargets): void {
  for (const [input, values] of seen.inputs) {
    const source = fileOptions(name, input)
    const isUpload = source?.folder === 'input' || source?.folder === 'output'
    for (const text of values.filter(value => typeof value === 'string')) {
      if (isUpload || mediaFilePattern.test(text)) classes.claimFile(text)
      else if (source && !source.extra?.includes(text)) catalogue.add(source.folder, text, learnedModelBytes)
    }
  }
}

function inferInfo(name: string, seen: Evidence, evidence: Map<string, Evidence>, classes: ClassTable): JsonObject {
  const optional: JsonObject = {}
  for (const [input, values] of seen.inputs) optional[input] = inferInput(input, values, seen, evidence, classes)
  const outputs = Array.from({ length: seen.slots }, (_, slot) => outputType(name, slot, evidence, classes))
  return {
    input: { required: {}, optional },
    input_order: { required: [], optional: Object.keys(optional) },
    output: outputs,
    output_is_list: outputs.map(() => false),
    output_name: outputs,
    name,
    display_name: name,
    description: 'Learned from a workflow.',
    python_module: 'custom_nodes.learned',
    category: 'learned',
    output_node: isOutput(name, seen)
  }
}

function inferInput(
  input: string,
  values: Json[],
  seen: Evidence,
  evidence: Map<string, Evidence>,
  classes: ClassTable
): Json {
  const links = seen.links.get(input)
  if (links && values.length > 0) return ['*', {}]
  if (links) {
    const types = new Set(links.map(({ source, slot }) => outputType(source, slot, evidence, classes)))
    return [types.size === 1 ? ([...types][0] as string) : '*', {}]
  }
  if (values.every(value => typeof value === 'boolean')) return ['BOOLEAN', { default: values[0] ?? false }]
  if (values.every(value => typeof value === 'number' || typeof value === 'bigint'))
    return ['INT', { default: values[0] ?? 0 }]
  if (values.every(value => typeof value === 'number' || value instanceof PythonFloat))
    return ['FLOAT', { default: values[0] ?? 0 }]
  const texts = values.filter(value => typeof value === 'string')
  if (texts.some(text => modelFilePattern.test(text))) return [[...new Set(texts)], {}]
  if (texts.some(text => mediaFilePattern.test(text))) return [[...new Set(texts)], { image_upload: true }]
  return texts.length === values.length ? ['STRING', { default: texts[0] ?? '' }] : ['*', {}]
}

/** The type of an output: what a known class declares, else what the classes it feeds declare or their input is called. */
function outputType(name: string, slot: number, evidence: Map<string, Evidence>, classes: ClassTable): string {
  const declared = classes.outputTypes(name)[slot]
  if (typeof declared === 'string') return declared
  for (const [consumer, seen] of evidence) {
    for (const [input, links] of seen.links) {
      if (!links.some(link => link.source === name && link.slot === slot)) continue
      const spec = classes.get(consumer) && classes.inputsOf(consumer).find(each => each.name === input)
      const wanted =
        typeof spec?.type === 'string' && spec.type !== '*' && !spec.type.includes(',') ? spec.type : typeByName(input)
      if (wanted) return wanted
    }
  }
  return '*'
}

const typesByName: [RegExp, string][] = [
  [/mask/i, 'MASK'],
  [/image|pixels|picture/i, 'IMAGE'],
  [/latent|samples/i, 'LATENT'],
  [/positive|negative|conditioning/i, 'CONDITIONING'],
  [/^(model|unet)$/i, 'MODEL'],
  [/^clip$/i, 'CLIP'],
  [/vae/i, 'VAE']
]

function typeByName(input: string): string | undefined {
  return typesByName.find(([pattern]) => pattern.test(input))?.[1]
}
