import { type Static, Type } from '@sinclair/typebox'
import { Instant, named } from './endpoint.ts'

/** The id of an upload: made of its content, so that the same bytes have the same id. */
export const InputId = Type.String({ pattern: '^input_[0-9a-f]{64}$' })

/** A file that a tenant uploaded. */
export type UploadedInput = Static<typeof UploadedInput>
export const UploadedInput = named(
  'UploadedInput',
  Type.Object({
    id: InputId,
    sha256: Type.String(),
    bytes: Type.Integer(),
    mediaType: Type.String({ description: 'By its first bytes; by its name where these say nothing' }),
    expiresAt: Type.Unsafe<string>({ ...Instant, description: 'Each use and each upload of the same bytes moves it' })
  })
)

/** Where an input comes from; exactly one of them. */
export type InputSource = Static<typeof InputSource>
export const InputSource = named(
  'InputSource',
  Type.Object(
    {
      url: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: 8_192,
          description: 'Fetched for every attempt, from public addresses only'
        })
      ),
      base64: Type.Optional(Type.String({ minLength: 1, description: 'The bytes; padded, without a data: prefix' })),
      upload: Type.Optional(Type.Unsafe<string>({ ...InputId, description: 'An id from POST /api/v1/inputs' }))
    },
    { additionalProperties: false, minProperties: 1, maxProperties: 1 }
  )
)

/** The multipart body of an upload. */
export const UploadForm = Type.Object({
  file: Type.String({ format: 'binary', description: 'The bytes, with a file name' })
})
