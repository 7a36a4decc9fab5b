import type { ParamSchema, Scalar, TemplateContent } from '@comfy-balancer/contract/template'
import { loraNameFault, loraSourceRule, readLoraSource } from '../lora-source.ts'
import { seedInputsOf } from '../seeds.ts'
import type { Flaw, Workflow } from '../workflow.ts'
import { type BoundInput, boundInputsOf, placeholdersIn } from './bound-input.ts'
import { fitted, isFilledIn, kindOf, literalOf } from './render.ts'
import { sizeInputsOf } from './size-inputs.ts'

type Checked = {
  readonly content: TemplateContent
  readonly workflow: Workflow
  readonly bound: readonly BoundInput[]
}

/**
 * What is wrong with a template, seen against its graph: params that go nowhere, bindings that lead nowhere or cannot fit, placeholders that
 * would stay in the text, maps that lack a value. Whether values satisfy the schema itself is for a validator.
 */
export const templateFlaws = (content: TemplateContent, workflow: Workflow): Flaw[] => {
  const checked = { content, workflow, bound: boundInputsOf(content) }
  return [
    ...paramFlaws(checked),
    ...checked.bound.flatMap(one => bindingFlaws(one, checked)),
    ...placeholderFlaws(checked),
    ...loraFlaws(content),
    ...outputFlaws(checked)
  ]
}

const at = (pointer: string, code: string, detail: string): Flaw => ({ pointer, code, detail: `${pointer} ${detail}` })

const paramFlaws = ({ content: { input_schema, bindings } }: Checked): Flaw[] => {
  const { properties, required = [] } = input_schema
  return [
    ...Object.keys(properties)
      .filter(param => !Object.hasOwn(bindings, param))
      .map(param => at(`/input_schema/properties/${param}`, 'not-bound', 'goes nowhere: bindings does not name it')),
    ...Object.keys(bindings)
      .filter(param => !Object.hasOwn(properties, param))
      .map(param => at(`/bindings/${param}`, 'unknown-param', 'is no param of input_schema')),
    ...required.flatMap((param, index) =>
      Object.hasOwn(properties, param)
        ? []
        : [at(`/input_schema/required/${index}`, 'unknown-param', `names ${param}, which is no param`)]
    )
  ]
}

const bindingFlaws = (one: BoundInput, { content, workflow, bound }: Checked): Flaw[] => {
  const pointer = `/bindings/${one.param}`
  const { properties } = content.input_schema
  const schema = Object.hasOwn(properties, one.param) ? properties[one.param] : undefined
  const { place } = one
  if (!place) return [at(pointer, 'target', `leads to ${one.target}, which is not written like "6".inputs.text`)]
  const literal = literalOf(workflow, place)
  if (literal === undefined) return [at(pointer, 'target', whyNoLiteral(workflow, one))]
  const sharing = bound.filter(other => other.place && isSame(other.place, place))
  if (isFilledIn(literal, sharing)) return filledInFlaws(one, String(literal), schema, content)
  if (sharing.length > 1) return [at(pointer, 'bound-twice', `leads to ${one.target}, where another value goes too`)]
  return schema ? fitFlaws(one, literal, schema, pointer) : []
}

const isSame = (a: NonNullable<BoundInput['place']>, b: NonNullable<BoundInput['place']>): boolean =>
  a.graphNode === b.graphNode && a.input === b.input

const whyNoLiteral = ({ graphNodes }: Workflow, { target, place }: BoundInput): string => {
  const graphNode = graphNodes.get(place!.graphNode)
  if (!graphNode) return `leads to ${target}, but there is no graph node ${place!.graphNode}`
  const inputs = Object.keys(graphNode.inputs)
  if (!inputs.includes(place!.input)) {
    return `leads to ${target}, but ${graphNode.classType} has ${inputs.join(', ') || 'no inputs'} here`
  }
  return `leads to ${target}, which is a link or a list; only a text, a number or true and false can be replaced`
}

const filledInFlaws = (
  { param, target }: BoundInput,
  text: string,
  schema: ParamSchema | undefined,
  { input_schema }: TemplateContent
): Flaw[] => {
  const pointer = `/bindings/${param}`
  if (!placeholdersIn(text).includes(param)) {
    return [at(pointer, 'no-placeholder', `leads to ${target}, whose text has no {{${param}}}`)]
  }
  if (!schema || schema.default !== undefined || input_schema.required?.includes(param)) return []
  const detail = 'stands in a text, so it needs a default or a place in required'
  return [at(`/input_schema/properties/${param}`, 'no-default', detail)]
}

const fitFlaws = (one: BoundInput, literal: Scalar, schema: ParamSchema, pointer: string): Flaw[] => {
  const wrong = one.map
    ? [...one.map].filter(([, value]) => fitted(literal, { value, json: '' }) === undefined).map(([name]) => name)
    : [schema.type].flat().filter(type => !fits(type, [schema.type].flat(), literal))
  if (wrong.length > 0) {
    return [
      at(pointer, 'type', `leads to ${one.target}, which is ${kindOf(literal)}: ${wrong.join(', ')} does not fit`)
    ]
  }
  const absent = one.map ? (schema.enum ?? []).filter(value => !one.map?.has(String(value))) : []
  return absent.length === 0 ? [] : [at(pointer, 'map', `has nothing for ${absent.join(', ')}`)]
}

/** A text fits a number when the param may be a number too: digits beyond what JSON readers keep. */
const fits = (type: string, types: readonly string[], literal: Scalar): boolean => {
  if (type === 'boolean') return typeof literal === 'boolean'
  if (type !== 'string') return typeof literal === 'number'
  return typeof literal === 'string' || (typeof literal === 'number' && types.includes('integer'))
}

const placeholderFlaws = ({ content, workflow, bound }: Checked): Flaw[] =>
  [...workflow.graphNodes.values()].flatMap(({ id, inputs }) =>
    Object.entries(inputs).flatMap(([input, found]) => {
      if (found.kind !== 'literal' || typeof found.value !== 'string') return []
      const params = bound.filter(({ place }) => place && isSame(place, { graphNode: id, input })).map(one => one.param)
      const isOurs = (name: string) => params.length > 0 || Object.hasOwn(content.input_schema.properties, name)
      return placeholdersIn(found.value)
        .filter(name => isOurs(name) && !params.includes(name))
        .map(name => at(`/prompt/${id}/inputs/${input}`, 'placeholder', `holds {{${name}}}, which no binding fills`))
    })
  )

/** A LoRA that comes along is a file of its own name. */
const loraFlaws = ({ loras = {} }: TemplateContent): Flaw[] => {
  const sourced = Object.entries(loras).filter(([, { source }]) => source !== undefined)
  const names = sourced.map(([, { name }]) => name)
  return sourced.flatMap(([id, { name, source = '' }], index) => {
    const fault = loraNameFault(name) ?? (names.indexOf(name) < index ? 'is that of another LoRA' : undefined)
    return [
      ...(fault === undefined ? [] : [at(`/loras/${id}/name`, 'name', fault)]),
      ...(readLoraSource(source) ? [] : [at(`/loras/${id}/source`, 'lora-source', loraSourceRule)])
    ]
  })
}

const outputFlaws = ({ content: { output_config = {} }, workflow, bound }: Checked): Flaw[] => {
  const { format = 'png', quality, quantity = 1 } = output_config
  const nodes = sizeInputsOf(workflow)
  const sizes = (['width', 'height'] as const).filter(name => output_config[name] !== undefined)
  return [
    ...sizes.flatMap(name => {
      const pointer = `/output_config/${name}`
      if (nodes.length === 0) {
        return [at(pointer, 'no-size', 'has no effect: no graph node has width, height and batch_size to set')]
      }
      const taken = bound.find(({ place }) => place?.input === name && nodes.includes(place.graphNode))
      return taken ? [at(pointer, 'bound-twice', `is what the param ${taken.param} sets`)] : []
    }),
    ...(quality !== undefined && format === 'png'
      ? [at('/output_config/quality', 'quality', 'is for jpg and webp')]
      : []),
    ...(quantity > 1 && seedInputsOf(workflow).length === 0
      ? [at('/output_config/quantity', 'no-seed', 'needs a graph with an input seed or noise_seed to vary')]
      : [])
  ]
}
