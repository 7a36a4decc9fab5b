import { type Static, Type } from '@sinclair/typebox'
import { Instant, named, nullable, ref } from './endpoint.ts'
import { LoraDigest, LoraSource } from './lora.ts'

/** Names of templates, of their params and of their LoRAs. */
export const TemplateName = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$',
  description: 'Letters, digits, _ . and -, at most 64'
})
const ParamName = Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,63}$' })
const LoraId = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$' })

/** A param's value; 64-bit seeds may be texts of digits. */
export type Scalar = string | number | boolean
const Scalar = Type.Union([Type.String(), Type.Number(), Type.Boolean()])

const scalarTypes = ['string', 'integer', 'number', 'boolean'] as const
type ScalarType = (typeof scalarTypes)[number]

/** What one param may be, in the words of JSON Schema. A `pattern` is matched in linear time (RE2 syntax). */
export type ParamSchema = Static<typeof ParamSchema>
export const ParamSchema = named(
  'ParamSchema',
  Type.Object(
    {
      type: Type.Unsafe<ScalarType | ScalarType[]>({
        anyOf: [
          { enum: [...scalarTypes] },
          { type: 'array', items: { enum: [...scalarTypes] }, minItems: 1, uniqueItems: true }
        ]
      }),
      title: Type.Optional(Type.String({ maxLength: 256 })),
      description: Type.Optional(Type.String({ maxLength: 4_096 })),
      examples: Type.Optional(Type.Array(Scalar, { maxItems: 16 })),
      default: Type.Optional(Scalar),
      enum: Type.Optional(Type.Array(Scalar, { minItems: 1, maxItems: 256 })),
      minimum: Type.Optional(Type.Number()),
      maximum: Type.Optional(Type.Number()),
      exclusiveMinimum: Type.Optional(Type.Number()),
      exclusiveMaximum: Type.Optional(Type.Number()),
      multipleOf: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
      minLength: Type.Optional(Type.Integer({ minimum: 0 })),
      maxLength: Type.Optional(Type.Integer({ minimum: 0 })),
      pattern: Type.Optional(Type.String({ maxLength: 256 }))
    },
    { additionalProperties: false }
  )
)

/** The params that a template takes: a flat JSON Schema, which needs no references and is quick to check. */
export type InputSchema = Static<typeof InputSchema>
export const InputSchema = named(
  'InputSchema',
  Type.Object(
    {
      $schema: Type.Optional(Type.String({ maxLength: 256 })),
      title: Type.Optional(Type.String({ maxLength: 256 })),
      description: Type.Optional(Type.String({ maxLength: 4_096 })),
      type: Type.Optional(Type.Literal('object')),
      properties: Type.Record(ParamName, ref(ParamSchema), { maxProperties: 64, additionalProperties: false }),
      required: Type.Optional(Type.Array(ParamName, { maxItems: 64, uniqueItems: true })),
      additionalProperties: Type.Optional(Type.Literal(false))
    },
    { additionalProperties: false }
  )
)

const Target = Type.String({
  minLength: 1,
  maxLength: 512,
  description: 'An input of the graph: "6".inputs.text, or 6.inputs.text'
})

const Route = Type.Object(
  {
    to: Type.Union([Target, Type.Array(Target, { minItems: 1, maxItems: 64 })]),
    map: Type.Optional(
      Type.Union([
        Type.Literal('loras', { description: 'The file of the LoRA with that id' }),
        Type.Record(Type.String({ maxLength: 256 }), Scalar, { minProperties: 1, maxProperties: 256 })
      ])
    )
  },
  { additionalProperties: false }
)

/** Where a param goes: one input of the graph or several, as it is or by a map from what callers say to what the graph needs. */
export type Binding = Static<typeof Binding>
export const Binding = named(
  'Binding',
  Type.Union([Target, Route, Type.Array(Type.Union([Target, Route]), { minItems: 1, maxItems: 64 })])
)

/** What comes out: PNG as ComfyUI saves it, or converted by ComfyUI itself; the size that is generated; how many tasks a request gives. */
export type OutputConfig = Static<typeof OutputConfig>
export const OutputConfig = named(
  'OutputConfig',
  Type.Object(
    {
      format: Type.Optional(Type.Unsafe<'png' | 'jpg' | 'webp'>({ type: 'string', enum: ['png', 'jpg', 'webp'] })),
      quality: Type.Optional(
        Type.Integer({ minimum: 1, maximum: 100, description: 'Of jpg and webp; 90 when left out' })
      ),
      width: Type.Optional(Type.Integer({ minimum: 16, maximum: 16_384, multipleOf: 8 })),
      height: Type.Optional(Type.Integer({ minimum: 16, maximum: 16_384, multipleOf: 8 })),
      quantity: Type.Optional(
        Type.Integer({
          minimum: 1,
          maximum: 1_000,
          description: 'count of requests that name none; above 1 they give groups'
        })
      )
    },
    { additionalProperties: false }
  )
)

const TemplateLora = Type.Object(
  {
    name: Type.String({
      minLength: 1,
      maxLength: 256,
      description: 'Its file, as ComfyUI lists it; with a source any name that ends in .safetensors'
    }),
    source: Type.Optional(
      Type.Unsafe<string>({
        ...LoraSource,
        description: 'Comes along wherever the workflow uses it, unless the request brings another one of that name'
      })
    ),
    sha256: Type.Optional(LoraDigest)
  },
  { additionalProperties: false }
)

const content = {
  description: Type.Optional(Type.String({ maxLength: 4_096 })),
  input_schema: ref(InputSchema),
  prompt: Type.Record(Type.String(), Type.Unknown(), { description: 'The workflow in ComfyUI API format' }),
  bindings: Type.Record(Type.String(), ref(Binding), {
    maxProperties: 64,
    description:
      "Param → input. Where the input's text holds {{param}}, the value is put in there; otherwise it takes the input's place"
  }),
  output_config: Type.Optional(ref(OutputConfig)),
  loras: Type.Optional(Type.Record(LoraId, TemplateLora, { maxProperties: 256, additionalProperties: false }))
}

/** The body of `PUT /api/v1/templates/{name}`, and a file of TEMPLATES_DIR. */
export type TemplateContent = Static<typeof TemplateContent>
export const TemplateContent = named('TemplateContent', Type.Object(content, { additionalProperties: false }))

const head = {
  name: TemplateName,
  shared: Type.Boolean({ description: 'Read from a folder and seen by every tenant; one of your own hides it' }),
  updatedAt: nullable(Instant)
}

/** A stored workflow with the params that it takes. */
export type Template = Static<typeof Template>
export const Template = named('Template', Type.Object({ ...head, ...content }))

/** A page of templates in the order of their names, without their workflows. */
export type TemplateList = Static<typeof TemplateList>
export const TemplateList = named(
  'TemplateList',
  Type.Object({
    data: Type.Array(Type.Object({ ...head, description: content.description, input_schema: content.input_schema })),
    nextCursor: nullable(Type.String())
  })
)

/** Values for a template's input_schema. */
export type Params = Static<typeof Params>
export const Params = Type.Record(Type.String({ maxLength: 64 }), Type.Unknown(), {
  maxProperties: 64,
  description: "Values for the template's input_schema"
})

/** Reference images by name: each stands for the params `<name>` (its image) and `<name>_strength`. */
export type References = Static<typeof References>
export const References = Type.Array(
  Type.Object(
    {
      name: Type.String({ maxLength: 64 }),
      image: Type.String({ maxLength: 4_096, description: 'A URL, the id of an upload, or a name from inputs' }),
      strength: Type.Optional(Type.Number())
    },
    { additionalProperties: false }
  ),
  { maxItems: 16, description: 'Each stands for the params <name> and <name>_strength' }
)

/** The body of `POST /api/v1/templates/{name}/preview`. */
export type PreviewRequest = Static<typeof PreviewRequest>
export const PreviewRequest = named(
  'PreviewRequest',
  Type.Object({ params: Type.Optional(Params), references: Type.Optional(References) }, { additionalProperties: false })
)

/** What a request with these params would run; a seed that nobody named is another one each time. */
export type Preview = Static<typeof Preview>
export const Preview = named(
  'Preview',
  Type.Object({
    template: TemplateName,
    seed: nullable(Type.String()),
    count: Type.Integer({ description: 'Tasks that it would give' }),
    prompt: content.prompt
  })
)
