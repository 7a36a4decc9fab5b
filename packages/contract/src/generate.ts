import { type Static, Type } from '@sinclair/typebox'
import { named } from './endpoint.ts'

/**
 * The body of `POST /api/v1/generate`. What one posts to ComfyUI's `/prompt` is accepted as it stands: `prompt_id`, `number` and
 * `front` are taken and not used, since ids and order are ours.
 */
export type GenerateRequest = Static<typeof GenerateRequest>
export const GenerateRequest = named(
  'GenerateRequest',
  Type.Object(
    {
      prompt: Type.Record(Type.String(), Type.Unknown(), {
        description: 'The workflow in ComfyUI API format: graph node id → { class_type, inputs }'
      }),
      client_id: Type.Optional(Type.String({ maxLength: 256, description: 'Kept and echoed, never sent on' })),
      extra_data: Type.Optional(
        Type.Object({}, { additionalProperties: true, description: 'Only extra_pnginfo reaches ComfyUI' })
      ),
      prompt_id: Type.Optional(Type.Unknown()),
      number: Type.Optional(Type.Unknown()),
      front: Type.Optional(Type.Unknown()),
      priority: Type.Optional(
        Type.Integer({ minimum: 0, maximum: 100, default: 50, description: '0 lowest, 100 highest' })
      ),
      timeoutSeconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 86_400, description: 'Per attempt' })),
      deadlineSeconds: Type.Optional(
        Type.Integer({ minimum: 1, maximum: 604_800, description: 'From acceptance to the end' })
      ),
      nodeSelector: Type.Optional(
        Type.Record(Type.String({ maxLength: 64 }), Type.String({ maxLength: 256 }), {
          maxProperties: 16,
          description: 'Labels that the node must have'
        })
      ),
      metadata: Type.Optional(
        Type.Object({}, { additionalProperties: true, description: 'At most 4 KiB, returned as it is' })
      )
    },
    { additionalProperties: false }
  )
)
