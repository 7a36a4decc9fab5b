import type { Endpoint } from '../endpoint.ts'
import { ref } from '../endpoint.ts'
import { UploadedInput, UploadForm } from '../input.ts'
import { Problem } from '../problem.ts'
import { problems } from './problems.ts'

export const uploadInput = {
  method: 'POST',
  url: '/api/v1/inputs',
  scope: 'tasks:write',
  schema: {
    operationId: 'uploadInput',
    summary: 'Keep a file for the workflows of this tenant; the same bytes have the same id',
    description: 'Images are checked by their header; files of any other kind are taken as they are.',
    tags: ['inputs'],
    consumes: ['multipart/form-data'],
    body: UploadForm,
    response: {
      201: ref(UploadedInput),
      413: ref(Problem),
      415: ref(Problem),
      422: ref(Problem),
      ...problems
    }
  }
} as const satisfies Endpoint
