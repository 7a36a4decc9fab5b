import { type Static, Type } from '@sinclair/typebox'
import { named, ref } from './endpoint.ts'
import { InputSource } from './input.ts'
import { Lora } from './lora.ts'
import { Params, References, TemplateName } from './template.ts'
import { Webhook } from './webhook.ts'

const shot = {
  prompt: Type.Optional(
    Type.Record(Type.String(), Type.Unknown(), {
      description: 'Either this or template: the workflow in ComfyUI API format: graph node id → { class_type, inputs }'
    })
  ),
  template: Type.Optional(TemplateName),
  params: Type.Optional(Params),
  references: Type.Optional(References),
  count: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 1000,
      description: 'That many tasks, each with a random seed: answers with a group'
    })
  ),
  client_id: Type.Optional(Type.String({ maxLength: 256, description: 'Kept and echoed, never sent on' })),
  extra_data: Type.Optional(
    Type.Object({}, { additionalProperties: true, description: 'Only extra_pnginfo reaches ComfyUI' })
  ),
  inputs: Type.Optional(
    Type.Record(Type.String(), ref(InputSource), {
      maxProperties: 64,
      description: 'Files that come along: the name under which the workflow refers to each → where it comes from'
    })
  ),
  loras: Type.Optional(
    Type.Array(ref(Lora), {
      maxItems: 16,
      description: 'LoRAs that come along: put into the models folder of the node before the run'
    })
  ),
  prompt_id: Type.Optional(Type.Unknown()),
  number: Type.Optional(Type.Unknown()),
  front: Type.Optional(Type.Unknown()),
  priority: Type.Optional(
    Type.Integer({ minimum: 0, maximum: 100, description: '0 lowest, 100 highest; 50 when left out' })
  ),
  timeoutSeconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 86_400, description: 'Per attempt' })),
  deadlineSeconds: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 604_800, description: 'From acceptance to the end' })
  ),
  webhook: Type.Optional(ref(Webhook)),
  nodeSelector: Type.Optional(
    Type.Record(Type.String({ maxLength: 64 }), Type.String({ maxLength: 256 }), {
      maxProperties: 16,
      description: 'Labels that the node must have'
    })
  ),
  metadata: Type.Optional(
    Type.Object({}, { additionalProperties: true, description: 'At most 4 KiB, returned as it is' })
  )
}

/**
 * One picture to make, or `count` of them: what stands in the list `requests`, and the body of `POST /api/v1/generate` when there is no list.
 * What one posts to ComfyUI's `/prompt` is accepted as it stands: `prompt_id`, `number` and `front` are taken and not used, since ids and
 * order are ours.
 */
export type ShotRequest = Static<typeof ShotRequest>
export const ShotRequest = named('ShotRequest', Type.Object(shot, { additionalProperties: false }))

/** The body of `POST /api/v1/generate`: one shot, or a list of them; beside a list the other fields are what each of them starts from. */
export type GenerateRequest = Static<typeof GenerateRequest>
export const GenerateRequest = named(
  'GenerateRequest',
  Type.Object(
    {
      ...shot,
      requests: Type.Optional(
        Type.Array(ref(ShotRequest), {
          minItems: 1,
          maxItems: 1000,
          description: 'A list of shots: answers with a group, and accepts all of them or none'
        })
      )
    },
    { additionalProperties: false }
  )
)
