import fc from 'fast-check'

/** A JSON Schema as far as the contract uses it. */
export type Schema = Readonly<Record<string, unknown>>

/** Values worth trying for a field, parameter or schema, by its name: ids that exist, a workflow that runs. */
export type KnownValues = (name: string) => readonly unknown[]

export type SchemaValuesDeps = {
  readonly resolve: (ref: string) => Schema
  readonly known: KnownValues
}

/** Makes values that a schema accepts; those with a `known` name are mostly taken from there. */
export type SchemaValues = (schema: Schema, name?: string) => fc.Arbitrary<unknown>

/** Deeper than this, schemas that refer to themselves end. */
const maxDepth = 8
const maxItems = 4
const maxTextLength = 48

const anyJson = fc.jsonValue({ maxDepth: 2, noUnicodeString: false } as fc.JsonSharedConstraints)
const names = fc.string({ maxLength: 12 })

export const createSchemaValues = ({ resolve, known }: SchemaValuesDeps): SchemaValues => {
  const named = (schema: Schema, name: string, depth: number): fc.Arbitrary<unknown> => {
    const values = known(name)
    const made = build(schema, depth)
    if (values.length === 0) return made
    return fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...values) }, { weight: 1, arbitrary: made })
  }

  const build = (schema: Schema, depth: number): fc.Arbitrary<unknown> => {
    if (typeof schema.$ref === 'string') return named(resolve(schema.$ref), schema.$ref, depth)
    if ('const' in schema) return fc.constant(schema.const)
    if (Array.isArray(schema.enum)) return fc.constantFrom(...schema.enum)
    const choices = (schema.anyOf ?? schema.oneOf) as readonly Schema[] | undefined
    if (choices) return fc.oneof(...choices.map(choice => build(choice, depth)))
    if (Array.isArray(schema.allOf)) return build(Object.assign({}, ...schema.allOf), depth)
    return ofType(schema, depth)
  }

  const ofType = (schema: Schema, depth: number): fc.Arbitrary<unknown> => {
    switch (schema.type) {
      case 'string':
        return texts(schema)
      case 'integer':
        return integers(schema)
      case 'number':
        return numbers(schema)
      case 'boolean':
        return fc.boolean()
      case 'null':
        return fc.constant(null)
      case 'array':
        return arrays(schema, depth)
      case 'object':
        return objects(schema, depth)
      default:
        return anyJson
    }
  }

  const arrays = (schema: Schema, depth: number): fc.Arbitrary<unknown> => {
    const least = numberOf(schema.minItems, 0)
    const most = depth > maxDepth ? least : Math.max(least, Math.min(maxItems, numberOf(schema.maxItems, maxItems)))
    return fc.array(build((schema.items ?? {}) as Schema, depth + 1), { minLength: least, maxLength: most })
  }

  const objects = (schema: Schema, depth: number): fc.Arbitrary<unknown> => {
    const properties = Object.entries((schema.properties ?? {}) as Record<string, Schema>)
    const required = new Set((schema.required ?? []) as readonly string[])
    const [needed, optional] = [true, false].map(is => properties.filter(([name]) => required.has(name) === is))
    const chosen = depth > maxDepth ? fc.constant([]) : fc.subarray(optional!)
    const fields = chosen.chain(some =>
      fc.record(Object.fromEntries([...needed!, ...some].map(([name, one]) => [name, named(one, name, depth + 1)])))
    )
    const more = additional(schema, depth)
    return more ? fc.tuple(more, fields).map(([extra, own]) => ({ ...extra, ...own })) : fields
  }

  const additional = (schema: Schema, depth: number): fc.Arbitrary<Record<string, unknown>> | undefined => {
    const [pattern, value] = Object.entries((schema.patternProperties ?? {}) as Record<string, Schema>)[0] ?? []
    const most = Math.min(3, numberOf(schema.maxProperties, 3))
    if (pattern !== undefined) return fc.dictionary(keys(pattern), build(value!, depth + 1), { maxKeys: most })
    if (schema.additionalProperties === false) return undefined
    const extra = (schema.additionalProperties === true ? {} : (schema.additionalProperties ?? {})) as Schema
    return fc.dictionary(names, build(extra, depth + 1), { maxKeys: most })
  }

  return (schema, name = '') => named(schema, name, 0)
}

/** TypeBox writes "any name" as a pattern. */
const keys = (pattern: string) => (pattern === '^(.*)$' ? names : fc.stringMatching(new RegExp(pattern)))

const numberOf = (value: unknown, otherwise: number): number => (typeof value === 'number' ? value : otherwise)

const texts = (schema: Schema): fc.Arbitrary<string> => {
  if (typeof schema.pattern === 'string') return fc.stringMatching(new RegExp(schema.pattern))
  if (schema.format === 'date-time') return fc.date({ noInvalidDate: true }).map(date => date.toISOString())
  if (schema.format === 'uri') return fc.webUrl()
  const minLength = numberOf(schema.minLength, 0)
  const maxLength = Math.max(minLength, Math.min(maxTextLength, numberOf(schema.maxLength, maxTextLength)))
  return fc.oneof(fc.string({ minLength, maxLength }), fc.string({ unit: 'binary', minLength, maxLength }))
}

const integers = (schema: Schema): fc.Arbitrary<number> => {
  const min = Math.ceil(numberOf(schema.minimum, Number.MIN_SAFE_INTEGER))
  const max = Math.floor(numberOf(schema.maximum, Number.MAX_SAFE_INTEGER))
  return fc.oneof(
    fc.maxSafeInteger().map(n => min + (Math.abs(n) % (max - min + 1))),
    fc.constantFrom(min, max)
  )
}

const numbers = (schema: Schema): fc.Arbitrary<number> =>
  fc.double({
    noNaN: true,
    noDefaultInfinity: true,
    min: numberOf(schema.minimum, -Number.MAX_VALUE),
    max: numberOf(schema.maximum, Number.MAX_VALUE)
  })
