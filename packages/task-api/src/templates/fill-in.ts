import { InputId, type InputSource } from '@comfy-balancer/contract/input'
import { randomSeedEnd, seedInputsOf } from '@comfy-balancer/domain/seeds'
import { boundInputsOf } from '@comfy-balancer/domain/template/bound-input'
import { type ParamValue, render } from '@comfy-balancer/domain/template/render'
import type { Flaw } from '@comfy-balancer/domain/workflow'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { ExactText } from '../deps.ts'
import { inputPointer } from '../inputs/brought-names.ts'
import { objectText } from '../object-text.ts'
import type { Shot } from '../shots.ts'
import type { SeedPlan } from '../variants.ts'
import type { StoredTemplate } from './stored-template.ts'

/** A template's graph with the params in it, inside the text of the request that named it. */
export type FilledIn = {
  readonly text: string
  readonly seeds: SeedPlan
  /** Files that come along because a reference names them, by the names that stand in the graph. */
  readonly inputs: Readonly<Record<string, InputSource>>
  /** Place in the graph → place in the request whose value stands there. */
  readonly origins: ReadonlyMap<string, string>
}

type Given = { readonly value: unknown; readonly json: string; readonly pointer: string; readonly upload?: string }

const uploadId = new RegExp(InputId.pattern ?? '')

/** The name that an upload gets in the graph where a reference names it by its id. */
const nameOfUpload = (id: string): string => `${id}.upload`

/** Puts a request's params and references into a template. Throws a Refusal that points at each wrong one. */
export const fillIn = (
  template: StoredTemplate,
  { body, text }: Pick<Shot, 'body' | 'text'>,
  exactText: ExactText
): FilledIn => {
  const members = Object.fromEntries(exactText.membersOf(text))
  const given = givenOf(body, exactText.membersOf(members.params ?? '{}'))
  refuse(template.validate(Object.fromEntries([...given].map(([name, { value }]) => [name, value]))), given)
  const values = valuesOf(template, given)
  const { changes, flaws } = render(template.content, template.workflow, values)
  refuse(flaws, given)
  const origins = changes.flatMap(({ graphNode, input, param }) => {
    const pointer = param && given.get(param)?.pointer
    return pointer ? [[`/prompt/${escaped(graphNode)}/inputs/${escaped(input)}`, pointer] as const] : []
  })
  const uploads = [...given.values()].flatMap(({ value, upload, pointer }) =>
    upload === undefined ? [] : [{ name: String(value), upload, pointer }]
  )
  const inputs = Object.fromEntries(uploads.map(({ name, upload }) => [name, { upload }]))
  const inputPlaces = uploads.flatMap(({ name, pointer }) =>
    ['', '/upload'].map(end => [`${inputPointer(name)}${end}`, pointer] as const)
  )
  return {
    text: exactText.withLiterals(objectText({ ...members, prompt: template.promptText }), changes),
    seeds: seedPlanOf(template, values, given),
    inputs,
    origins: new Map([...inputPlaces, ...origins])
  }
}

const escaped = (part: string): string => part.replaceAll('~', '~0').replaceAll('/', '~1')

const givenOf = ({ params = {}, references = [] }: Shot['body'], texts: ReadonlyMap<string, string>) => {
  const given = new Map<string, Given>()
  for (const [name, value] of Object.entries(params)) {
    given.set(name, { value, json: texts.get(name) ?? JSON.stringify(value), pointer: `/params/${escaped(name)}` })
  }
  for (const [index, { name, image, strength }] of references.entries()) {
    const pointer = `/references/${index}`
    if (given.has(name)) refuse([{ pointer, code: 'twice', detail: `${pointer} gives ${name} a second time` }], given)
    const isUpload = uploadId.test(image)
    const value = isUpload ? nameOfUpload(image) : image
    const upload = isUpload ? { upload: image } : {}
    given.set(name, { value, json: JSON.stringify(value), pointer: `${pointer}/image`, ...upload })
    if (strength === undefined) continue
    const json = JSON.stringify(strength)
    given.set(`${name}_strength`, { value: strength, json, pointer: `${pointer}/strength` })
  }
  return given
}

/** Flaws speak of params; a value that came as a reference is pointed at there. */
const refuse = (flaws: readonly Flaw[], given: ReadonlyMap<string, Given>): void => {
  if (flaws.length === 0) return
  const errors = flaws.map(flaw => {
    const pointer = given.get(flaw.pointer.slice('/params/'.length))?.pointer ?? flaw.pointer
    return { ...flaw, pointer, detail: flaw.detail.replace(flaw.pointer, pointer) }
  })
  throw new Refusal('validation-failed', errors.map(({ detail }) => detail).join('; '), { errors })
}

const valuesOf = ({ content, defaults }: StoredTemplate, given: ReadonlyMap<string, Given>): Map<string, ParamValue> =>
  new Map(
    Object.entries(content.input_schema.properties).flatMap(([name, { default: fallback }]) => {
      const one = given.get(name)
      if (one) return [[name, { value: one.value as ParamValue['value'], json: one.json }] as const]
      if (fallback === undefined) return []
      return [[name, { value: fallback, json: defaults.get(name) ?? JSON.stringify(fallback) }] as const]
    })
  )

/** Seeds that a param sets: named when it has a value, else open within what its schema allows. */
const seedPlanOf = (
  { content, workflow }: StoredTemplate,
  values: ReadonlyMap<string, ParamValue>,
  given: ReadonlyMap<string, Given>
): SeedPlan => {
  const inputs = new Set(seedInputsOf(workflow).map(({ graphNode, input }) => JSON.stringify([graphNode, input])))
  const bound = boundInputsOf(content).flatMap(({ param, place, map }) =>
    place && !map && inputs.has(JSON.stringify([place.graphNode, place.input])) ? [{ param, place }] : []
  )
  const { properties } = content.input_schema
  const open = bound.filter(({ param }) => !values.has(param))
  const least = Math.max(0, ...open.map(({ param }) => properties[param]?.minimum ?? 0))
  const most = Math.min(randomSeedEnd - 1, ...open.map(({ param }) => properties[param]?.maximum ?? randomSeedEnd))
  return {
    open: open.map(({ place }) => place),
    named: bound.flatMap(({ param, place }) => {
      const digits = digitsOf(values.get(param))
      if (digits === undefined) return []
      const pointer = given.get(param)?.pointer ?? '/count'
      return [{ ...place, base: BigInt(digits), most: properties[param]?.maximum ?? 2 ** 64 - 1, pointer }]
    }),
    least,
    end: Math.max(least, most) + 1
  }
}

const digitsOf = (given: ParamValue | undefined): string | undefined => {
  if (typeof given?.value === 'string') return given.value
  if (!Number.isInteger(given?.value)) return undefined
  return /^-?\d+$/.test(given!.json) ? given!.json : String(BigInt(given!.value))
}
