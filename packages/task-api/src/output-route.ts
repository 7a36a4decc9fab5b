import type { Readable } from 'node:stream'
import { getOutput } from '@comfy-balancer/contract/endpoints'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import type { StoredOutput } from '@comfy-balancer/task-store/manifest'
import type { FastifyReply } from 'fastify'
import type { ByteRange, TaskApiDeps } from './deps.ts'
import { findTask } from './find-task.ts'

/** Adds the bytes of outputs: streamed, with Range and ETag. */
export const outputRoute = (app: App, deps: TaskApiDeps): void => {
  route(app, getOutput, async (request, reply) => {
    const record = await findTask(deps, request.caller, request.params.id)
    const output = record.result.outputs.find(one => `${one.attempt}-${one.index}` === request.params.output)
    if (!output) throw new Refusal('not-found', `${record.id} has no output ${request.params.output}`)
    describe(reply, output)
    if (request.headers['if-none-match']?.includes(`"${output.sha256}"`)) return reply.code(304).send()
    const range = rangeOf(request.headers.range, output.bytes)
    if (range === 'unsatisfiable') return reply.code(416).header('content-range', `bytes */${output.bytes}`).send()
    const bytes = await open(deps, output, range)
    if (!range) return reply.header('content-length', String(output.bytes)).send(bytes)
    return reply
      .code(206)
      .header('content-range', `bytes ${range.start}-${range.end}/${output.bytes}`)
      .header('content-length', String(range.end - range.start + 1))
      .send(bytes)
  })
}

const open = async (deps: TaskApiDeps, output: StoredOutput, range: ByteRange | undefined): Promise<Readable> => {
  const bytes = await deps.openOutput(output.path, range)
  if (bytes) return bytes
  throw new Refusal('output-unavailable', `${output.filename} cannot be read from the store now`)
}

/** The caller's own media only: a browser must never take it for a page of ours. */
const describe = (reply: FastifyReply, { mediaType, filename, sha256 }: StoredOutput): void => {
  reply
    .type(mediaType)
    .header('content-disposition', `inline; filename*=UTF-8''${encodeURIComponent(filename)}`)
    .header('content-security-policy', "sandbox; default-src 'none'")
    .header('etag', `"${sha256}"`)
    .header('accept-ranges', 'bytes')
    .header('cache-control', 'private, max-age=31536000, immutable')
}

/** Reads a single byte range (RFC 9110); anything else is answered with the whole. */
const rangeOf = (header: string | undefined, size: number): ByteRange | 'unsatisfiable' | undefined => {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '')
  if (!match || (match[1] === '' && match[2] === '')) return undefined
  const [, first, last] = match
  if (first === '') {
    const length = Math.min(size, Number(last))
    return length === 0 ? 'unsatisfiable' : { start: size - length, end: size - 1 }
  }
  const start = Number(first)
  const end = last === '' ? size - 1 : Math.min(size - 1, Number(last))
  if (start >= size) return 'unsatisfiable'
  return start > end ? undefined : { start, end }
}
