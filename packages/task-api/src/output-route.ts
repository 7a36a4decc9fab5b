import { Readable } from 'node:stream'
import { getOutput } from '@comfy-balancer/contract/endpoints/tasks'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { type Handler, route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import type { StoredOutput } from '@comfy-balancer/task-store/manifest'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { contentDisposition } from './content-disposition.ts'
import type { ByteRange, TaskApiDeps } from './deps.ts'
import { findTask } from './find-task.ts'
import { passedOnHeader } from './node-outputs.ts'

/** Adds the bytes of outputs: streamed, with Range and ETag, or an address at the store. */
export const outputRoute = (app: App, deps: TaskApiDeps): void => {
  const answer: Handler<typeof getOutput> = async (request, reply) => {
    const record = await findTask(deps, request.caller, request.params.id)
    const output = record.result.outputs.find(one => `${one.attempt}-${one.index}` === request.params.output)
    if (!output) throw new Refusal('not-found', `${record.id} has no output ${request.params.output}`)
    const { headers } = request
    const isHead = request.method === 'HEAD'
    if (request.query.redirect && !isHead) {
      const url = await fromStore(request, output, () => deps.outputs.signedUrl(output))
      if (url !== undefined) return reply.header('cache-control', 'no-store').redirect(url, 302)
    }
    describe(reply, output)
    if (isKnown(headers['if-none-match'], output)) return reply.code(304).send()
    const range = isWhole(headers['if-range'], output) ? undefined : rangeOf(headers.range, output.bytes)
    if (range === 'unsatisfiable') return reply.code(416).header('content-range', `bytes */${output.bytes}`).send()
    const { authorization } = headers
    const isPassedOn = headers[passedOnHeader] !== undefined
    const open = () => deps.outputs.open({ record, output, range, authorization, isPassedOn })
    const bytes = isHead ? Readable.from([]) : await fromStore(request, output, open)
    if (!bytes) throw unavailable(output)
    if (!range) return reply.header('content-length', String(output.bytes)).send(bytes)
    return reply
      .code(206)
      .header('content-range', `bytes ${range.start}-${range.end}/${output.bytes}`)
      .header('content-length', String(range.end - range.start + 1))
      .send(bytes)
  }
  route(app, getOutput, answer, { config: { swagger: { exposeHeadRoute: true } } })
}

const unavailable = ({ filename }: StoredOutput): Refusal =>
  new Refusal('output-unavailable', `${filename} cannot be read from where it is kept now`)

const fromStore = async <T>(request: FastifyRequest, output: StoredOutput, read: () => Promise<T>): Promise<T> => {
  try {
    return await read()
  } catch (err) {
    request.log.warn({ err, errorSource: 'ours', path: output.path }, 'output not read from the store')
    throw unavailable(output)
  }
}

const isKnown = (ifNoneMatch: string | undefined, { sha256 }: StoredOutput): boolean =>
  ifNoneMatch === '*' || (ifNoneMatch?.includes(`"${sha256}"`) ?? false)

/** Of another version than the caller has a part of, it wants the whole. */
const isWhole = (ifRange: unknown, { sha256 }: StoredOutput): boolean =>
  ifRange !== undefined && ifRange !== `"${sha256}"`

/** The caller's own media only: a browser must never take it for a page of ours. */
const describe = (reply: FastifyReply, { mediaType, filename, sha256 }: StoredOutput): void => {
  reply
    .type(mediaType)
    .header('content-disposition', contentDisposition(filename, mediaType))
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
