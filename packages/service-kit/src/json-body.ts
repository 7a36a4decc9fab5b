import type { FastifyInstance, FastifyRequest } from 'fastify'
import { type JsonBounds, lineAndColumn, scanJson } from './json-scan.ts'
import { Refusal } from './problems.ts'
import './fastify-additions.ts'

const maxContainers = 50_000
const maxMembers = 250_000
const contentType = /^application\/(?:json|[\w.!#$&^-]+\+json)\s*(?:;|$)/i

/** Takes request bodies as JSON only, strictly: whatever is not exactly one reading of the text is refused with its place. */
export const takeJsonBodies = (app: FastifyInstance, maxDepth: number): void => {
  app.decorateRequest('bodyText', undefined)
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(contentType, { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    if (body.length === 0 && takesNoBody(request)) return undefined
    const text = decode(request, body)
    request.bodyText = text
    return parseJson(text, { maxDepth, maxContainers, maxMembers })
  })
  app.addHook('onRequest', async request => {
    const encoding = request.headers['content-encoding']
    if (encoding === undefined || encoding === 'identity') return
    throw new Refusal('unsupported-media-type', 'Send the body as it is, without Content-Encoding')
  })
}

/** Parses a JSON text strictly. Throws a Refusal that says what is wrong and where. */
export const parseJson = (text: string, bounds: JsonBounds): unknown => {
  const fault = scanJson(text, bounds)
  if (fault !== undefined)
    throw new Refusal('validation-failed', `The body is refused: ${fault.detail}`, { errors: [fault] })
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    const { message } = error as SyntaxError
    const offset = Number(/position (\d+)/.exec(message)?.[1] ?? text.length)
    const what =
      text.trim() === '' ? 'it is empty' : `unexpected ${offset < text.length ? JSON.stringify(text[offset]) : 'end'}`
    const detail = `${what} (${lineAndColumn(text, offset)})`
    throw new Refusal('validation-failed', `The body is not JSON: ${detail}`, {
      errors: [{ pointer: '', code: 'not-json', detail }]
    })
  }
}

const takesNoBody = (request: FastifyRequest): boolean =>
  ['GET', 'HEAD', 'DELETE', 'OPTIONS'].includes(request.method) || request.routeOptions.schema?.body === undefined

const decode = (request: FastifyRequest, body: Buffer): string => {
  const charset = /;\s*charset\s*=\s*"?([^\s;"]+)/i.exec(request.headers['content-type'] ?? '')?.[1]
  if (charset !== undefined && !/^(utf-?8|us-ascii)$/i.test(charset)) {
    throw new Refusal('unsupported-media-type', 'Send the body in UTF-8')
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
  } catch {
    const detail = 'the bytes are not UTF-8'
    throw new Refusal('validation-failed', `The body is refused: ${detail}`, {
      errors: [{ pointer: '', code: 'not-utf-8', detail }]
    })
  }
}
