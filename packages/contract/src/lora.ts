import { type Static, Type } from '@sinclair/typebox'
import { named } from './endpoint.ts'

/** Where the bytes of a LoRA are. */
export const LoraSource = Type.String({
  minLength: 1,
  maxLength: 1_200,
  description: 's3://bucket/key, store:path below the folder loras of the store, or the id of an upload'
})

/** What its bytes must be. */
export const LoraDigest = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'Of its bytes; checked' })

/** A LoRA that comes along with a workflow. */
export type Lora = Static<typeof Lora>
export const Lora = named(
  'Lora',
  Type.Object(
    {
      name: Type.String({ maxLength: 128, description: 'As the workflow calls it; ends in .safetensors' }),
      source: LoraSource,
      sha256: Type.Optional(LoraDigest)
    },
    { additionalProperties: false }
  )
)
