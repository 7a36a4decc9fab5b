import type { InputSchema } from '@comfy-balancer/contract/template'
import type { Flaw } from '@comfy-balancer/domain/workflow'
import { placeOf } from '@comfy-balancer/service-kit/problems'
import { Ajv, type ErrorObject } from 'ajv'
import { RE2JS } from 're2js'

/** Says what is wrong with params, each flaw pointing below `/params`. */
export type ParamValidator = (params: Readonly<Record<string, unknown>>) => Flaw[]

/** Matches in linear time, whatever the pattern. */
const regExp = Object.assign(
  (pattern: string) => {
    const compiled = RE2JS.compile(pattern)
    return { test: (text: string) => compiled.matcher(text).find() }
  },
  { code: 're2js' }
)

/** Compiles an input_schema, or says what is wrong with it: unreadable patterns, words that do not go together, defaults that it would refuse. */
export const createParamValidator = (schema: InputSchema): { validate: ParamValidator } | { flaws: Flaw[] } => {
  const flaws = patternFlaws(schema)
  if (flaws.length > 0) return { flaws }
  const { $schema: _, ...rest } = schema
  try {
    const ajv = new Ajv({ allErrors: true, strict: true, allowUnionTypes: true, logger: false, code: { regExp } })
    const check = ajv.compile({ ...rest, type: 'object', additionalProperties: false })
    const validate: ParamValidator = params => (check(params) ? [] : (check.errors ?? []).map(flawOf))
    const wrong = valueFlaws(schema, validate)
    return wrong.length > 0 ? { flaws: wrong } : { validate }
  } catch (error) {
    const detail = error instanceof Error ? error.message.slice(0, 300) : String(error)
    return {
      flaws: [{ pointer: '/input_schema', code: 'schema', detail: `/input_schema is no usable schema: ${detail}` }]
    }
  }
}

const flawOf = (error: ErrorObject): Flaw => placeOf({ ...error, instancePath: `/params${error.instancePath}` })

const patternFlaws = ({ properties }: InputSchema): Flaw[] =>
  Object.entries(properties).flatMap(([param, { pattern }]) => {
    try {
      if (pattern !== undefined) regExp(pattern)
      return []
    } catch (error) {
      const pointer = `/input_schema/properties/${param}/pattern`
      const detail = `${pointer} cannot be used (RE2 syntax, without lookaround and backreferences): ${(error as Error).message}`
      return [{ pointer, code: 'pattern', detail: detail.slice(0, 500) }]
    }
  })

/** Defaults, examples and enums must be what the schema itself would take. */
const valueFlaws = ({ properties }: InputSchema, validate: ParamValidator): Flaw[] =>
  Object.entries(properties).flatMap(([param, schema]) => {
    const { default: fallback, enum: allowed = [], examples = [] } = schema
    const values: [string, unknown][] = [
      ...(fallback === undefined ? [] : [['default', fallback] as [string, unknown]]),
      ...allowed.map((value, index): [string, unknown] => [`enum/${index}`, value]),
      ...examples.map((value, index): [string, unknown] => [`examples/${index}`, value])
    ]
    return values.flatMap(([where, value]) => {
      const wrong = validate({ [param]: value }).find(flaw => flaw.pointer === `/params/${param}`)
      const pointer = `/input_schema/properties/${param}/${where}`
      return wrong ? [{ ...wrong, pointer, detail: wrong.detail.replace(wrong.pointer, pointer) }] : []
    })
  })
