import { uploadInput } from '@comfy-balancer/contract/endpoints/inputs'
import type { UploadedInput } from '@comfy-balancer/contract/input'
import { longestBodyMs } from '@comfy-balancer/service-kit/body-time'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import type { InputRecord } from '@comfy-balancer/task-store/inputs'
import multipart, { type MultipartFile } from '@fastify/multipart'
import { Ajv } from 'ajv'
import type { FastifyRequest } from 'fastify'
import type { InputLibrary } from './input-library.ts'

/** What stands around the file in a multipart body. */
const envelopeBytes = 65_536
const partLimits = {
  fileSize: Number.POSITIVE_INFINITY,
  files: 2,
  fields: 1,
  parts: 2,
  fieldSize: 1_024,
  headerPairs: 16
}

/** Adds the upload of inputs. It alone takes multipart bodies. */
export const inputRoutes = (app: App, library: InputLibrary): void => {
  void app.register(async scope => {
    await scope.register(multipart, { throwFileSizeLimit: false })
    const ajv = new Ajv()
    route(
      scope as App,
      uploadInput,
      async request => {
        const stored = await storeOnlyFile(request, library).catch(error => {
          drain(request, library.limits.maxBytes)
          throw error
        })
        request.log.info({ bytes: stored.bytes, mediaType: stored.mediaType }, 'input kept')
        return viewInput(await library.keep(request.caller.tenant, stored))
      },
      {
        bodyLimit: library.limits.maxBytes + envelopeBytes,
        config: { bodyMs: longestBodyMs },
        validatorCompiler: ({ schema, httpPart }) => (httpPart === 'body' ? () => true : ajv.compile(schema)),
        onRequest: async request => {
          refuseForeignPage(request)
          refuseLarge(request, library.limits.maxBytes)
        }
      }
    )
  })
}

/** A page of another site may post forms anywhere, also to this machine's own services; its browser says whose page it is. */
const refuseForeignPage = ({ headers }: FastifyRequest): void => {
  const { origin, host } = headers
  if (origin === undefined || (URL.canParse(origin) && new URL(origin).host === host)) return
  throw new Refusal('forbidden', 'A page of another site may not upload files')
}

const refuseLarge = ({ headers }: FastifyRequest, maxBytes: number): void => {
  if (Number(headers['content-length'] ?? 0) <= maxBytes + envelopeBytes) return
  throw new Refusal('payload-too-large', `The file is larger than ${maxBytes} bytes`)
}

/** Reads on after a refusal, so that the sender gets to see it; one that does not end is cut off. */
const drain = ({ raw }: FastifyRequest, mostBytes: number): void => {
  let bytes = 0
  raw.unpipe()
  raw.on('data', chunk => {
    bytes += chunk.length
    if (bytes > mostBytes) raw.destroy()
  })
  raw.resume()
}

const onlyFile = 'Send one part named file, with a file name, and nothing else'

const wrongForm = (detail = onlyFile): Refusal =>
  new Refusal('validation-failed', detail, { errors: [{ pointer: '/file', code: 'one-file', detail }] })

const storeOnlyFile = async (request: FastifyRequest, library: InputLibrary) => {
  if (!request.isMultipart()) throw new Refusal('unsupported-media-type', 'Send the file as multipart/form-data')
  const parts = request.parts({ limits: partLimits })
  const file = await nextFile(parts)
  if (file?.fieldname !== 'file') throw wrongForm()
  const brought = { filename: file.filename ?? '', body: file.file, pointer: '/file' }
  const stored = await library.put(request.caller.tenant, brought)
  try {
    if (await nextFile(parts)) throw wrongForm()
  } catch (error) {
    await library.drop(stored)
    throw error
  }
  return stored
}

const nextFile = async (parts: AsyncIterator<unknown>): Promise<MultipartFile | undefined> => {
  const { value, done } = await parts.next().catch(error => {
    throw isOfForm(error) ? wrongForm(`The form cannot be read: ${error.message}`) : error
  })
  if (done) return undefined
  if ((value as MultipartFile).type !== 'file') throw wrongForm()
  return value as MultipartFile
}

const isOfForm = (error: unknown): error is Error => error instanceof Error && !(error instanceof Refusal)

const viewInput = ({ id, sha256, bytes, mediaType, expiresMs }: InputRecord): UploadedInput => ({
  id,
  sha256,
  bytes,
  mediaType,
  expiresAt: new Date(expiresMs).toISOString()
})
