import type { Scalar, TemplateContent } from '@comfy-balancer/contract/template'
import type { GraphPlace } from '../seeds.ts'
import type { Flaw, Workflow } from '../workflow.ts'
import { type BoundInput, boundInputsOf, filled, placeholdersIn } from './bound-input.ts'
import { sizeInputsOf } from './size-inputs.ts'

/** A param's value, and its JSON text with every digit. */
export type ParamValue = { readonly value: Scalar; readonly json: string }

/** A literal of the graph to replace by a JSON text; `param` is whose value it is, where it is one's alone. */
export type LiteralChange = GraphPlace & { readonly json: string; readonly param: string | undefined }

/** What a template's params make of its graph, or what is wrong with them. */
export type Rendering = { readonly changes: readonly LiteralChange[]; readonly flaws: readonly Flaw[] }

/** Works out every literal that the values replace. A param without a value leaves the graph as it is. */
export const render = (
  content: Pick<TemplateContent, 'bindings' | 'loras' | 'output_config'>,
  workflow: Workflow,
  values: ReadonlyMap<string, ParamValue>
): Rendering => {
  const flaws: Flaw[] = []
  const changes: LiteralChange[] = sizeChanges(content.output_config, workflow)
  for (const bound of byPlace(boundInputsOf(content))) {
    const { place } = bound[0]!
    const literal = place && literalOf(workflow, place)
    if (!place || literal === undefined) continue
    const change = changeAt(literal, bound, values, flaws)
    if (change) changes.push({ ...place, ...change })
  }
  return { changes, flaws }
}

const sizeChanges = (config: TemplateContent['output_config'], workflow: Workflow): LiteralChange[] =>
  (['width', 'height'] as const).flatMap(input => {
    const size = config?.[input]
    if (size === undefined) return []
    return sizeInputsOf(workflow).map(graphNode => ({ graphNode, input, json: String(size), param: undefined }))
  })

const byPlace = (bound: readonly BoundInput[]): BoundInput[][] => {
  const places = new Map<string, BoundInput[]>()
  for (const one of bound) {
    const key = JSON.stringify([one.place?.graphNode, one.place?.input])
    places.set(key, [...(places.get(key) ?? []), one])
  }
  return [...places.values()]
}

/** The literal at a place of the graph, when there is one that a param can replace. */
export const literalOf = ({ graphNodes }: Workflow, { graphNode, input }: GraphPlace): Scalar | undefined => {
  const inputs = graphNodes.get(graphNode)?.inputs ?? {}
  const found = Object.hasOwn(inputs, input) ? inputs[input] : undefined
  if (found?.kind !== 'literal') return undefined
  const { value } = found
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : undefined
}

const changeAt = (
  literal: Scalar,
  bound: readonly BoundInput[],
  values: ReadonlyMap<string, ParamValue>,
  flaws: Flaw[]
): { json: string; param: string | undefined } | undefined => {
  const mapped = new Map<string, ParamValue>()
  for (const { param, map } of bound) {
    const given = values.get(param)
    const found = given && (map ? mapValue(param, given, map, flaws) : given)
    if (found) mapped.set(param, found)
  }
  if (typeof literal === 'string' && isFilledIn(literal, bound)) {
    const text = filled(literal, name => textOf(mapped.get(name)))
    return { json: JSON.stringify(text), param: bound.length === 1 ? bound[0]!.param : undefined }
  }
  const [[param, given] = []] = [...mapped]
  if (param === undefined || given === undefined) return undefined
  const json = fitted(literal, given)
  if (json !== undefined) return { json, param }
  flaws.push({ pointer: `/params/${param}`, code: 'type', detail: `/params/${param} must be ${kindOf(literal)}` })
  return undefined
}

/** Whether the values are put into the literal's text rather than in its place. */
export const isFilledIn = (literal: Scalar, bound: readonly { readonly param: string }[]): boolean => {
  if (typeof literal !== 'string') return false
  const names = placeholdersIn(literal)
  return bound.some(({ param }) => names.includes(param))
}

const mapValue = (
  param: string,
  { value }: ParamValue,
  map: ReadonlyMap<string, Scalar>,
  flaws: Flaw[]
): ParamValue | undefined => {
  const found = map.get(String(value))
  if (found !== undefined) return { value: found, json: JSON.stringify(found) }
  const detail = `/params/${param} must be one of ${[...map.keys()].join(', ')}`
  flaws.push({ pointer: `/params/${param}`, code: 'enum', detail })
  return undefined
}

const textOf = (given: ParamValue | undefined): string | undefined =>
  typeof given?.value === 'string' ? given.value : given?.json

/** The JSON text for a value in a literal's place; undefined when it does not fit. Digits fit a number as they are. */
export const fitted = (literal: Scalar, { value, json }: ParamValue): string | undefined => {
  if (typeof value === typeof literal) return json
  if (typeof literal === 'number' && typeof value === 'string' && /^(?:0|-?[1-9]\d{0,19})$/.test(value)) return value
  return undefined
}

/** A literal's kind in words. */
export const kindOf = (literal: Scalar): string =>
  typeof literal === 'string' ? 'a text' : typeof literal === 'number' ? 'a number' : 'true or false'
