import { problemTable } from '@comfy-balancer/contract/problem'
import type { ValidateFunction } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import type { WireAnswer, WireRequest } from './request.ts'

type Media = { readonly schema?: unknown }
type Answer = {
  readonly content?: Readonly<Record<string, Media>>
  readonly headers?: Readonly<Record<string, unknown>>
}
type Parameter = { readonly name: string; readonly in: 'path' | 'query' | 'header'; readonly required?: boolean }
type Operation = {
  readonly operationId: string
  readonly parameters?: readonly Parameter[]
  readonly security?: readonly object[]
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> }
  readonly responses: Readonly<Record<string, Answer>>
}

/** An OpenAPI 3.1 document as a service serves it. */
export type OpenApi = { readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>> }

/** Holds answers against the document that the service itself serves. */
export type ApiDocument = {
  /** How an answer differs from what the document promises; empty when it does not. */
  readonly faultsOf: (request: WireRequest, answer: WireAnswer) => string[]
}

type Found = { readonly operation: Operation; readonly pointer: string }

/** Codes with which the schemas of the document refuse; what else is refused with 400 has a reason beyond them. */
const schemaKeywords = new Set(['type', 'required', 'additionalProperties', 'pattern', 'enum', 'minimum', 'maximum'])
for (const keyword of ['minLength', 'maxLength', 'minItems', 'maxItems', 'maxProperties', 'format', 'const'])
  schemaKeywords.add(keyword)

/** What a template of the caller's asks for, and which fields exclude each other, no schema of the document says. */
const beyondSchemas = /^\/(requests\/\d+\/)?(params\/|references\/|input_schema\/|prompt$)/

/** Statuses that may come before an operation is known: `default` stands for them. */
const beforeRouting = new Set([400, 405, 408, 431])

export const createApiDocument = (document: OpenApi): ApiDocument => {
  const ajv = new Ajv2020({ strict: false, allErrors: false, validateSchema: false })
  formats.default(ajv)
  ajv.addSchema(document, 'api')
  const compiled = new Map<string, ValidateFunction>()
  const validatorOf = (pointer: string): ValidateFunction => {
    const known = compiled.get(pointer)
    if (known) return known
    const made = ajv.compile({ $ref: `api#${pointer}` })
    compiled.set(pointer, made)
    return made
  }
  const routes = Object.keys(document.paths)
    .map(path => ({ path, matches: toRegExp(path) }))
    .sort((a, b) => a.path.split('{').length - b.path.split('{').length)

  const find = ({ method, target }: WireRequest): Found | undefined => {
    const path = target.split('?', 1)[0]!
    const route = routes.find(one => one.matches.test(path))
    if (!route) return undefined
    const methods = document.paths[route.path]!
    const verb = method.toLowerCase()
    const name = methods[verb] === undefined && verb === 'head' ? 'get' : verb
    const operation = methods[name]
    return operation && { operation, pointer: `/paths/${escapePointer(route.path)}/${name}` }
  }

  const bodyFaults = (found: Found, answer: WireAnswer, status: string, isHead: boolean): string[] => {
    const listed = found.operation.responses[status]?.content
    if (isHead) return answer.body.length > 0 ? ['HEAD is answered with a body'] : []
    if (!listed) return answer.body.length > 0 ? [`${status} has a body, the document lists none`] : []
    const type = (answer.headers['content-type'] ?? '').split(';', 1)[0]!.trim()
    const media = type in listed ? type : '*/*' in listed ? '*/*' : undefined
    if (media === undefined) return [`content type ${type || 'none'}, documented: ${Object.keys(listed).join(', ')}`]
    if (!media.endsWith('json')) return []
    const validate = validatorOf(`${found.pointer}/responses/${status}/content/${escapePointer(media)}/schema`)
    const body = parse(answer.body)
    if (body === undefined) return [`${status} is not JSON`]
    return validate(body) ? [] : [`${status} does not fit its schema: ${ajv.errorsText(validate.errors)}`]
  }

  const documented = (found: Found, answer: WireAnswer, isHead: boolean): string[] => {
    const { responses } = found.operation
    const own = String(answer.status)
    const status = own in responses ? own : beforeRouting.has(answer.status) ? 'default' : undefined
    if (status === undefined || !(status in responses)) return [`${found.operation.operationId} does not list ${own}`]
    const missing = Object.keys(responses[status]!.headers ?? {}).filter(name => !answer.headers[name.toLowerCase()])
    return [...bodyFaults(found, answer, status, isHead), ...missing.map(name => `${own} comes without ${name}`)]
  }

  const wrongVerdict = (found: Found, request: WireRequest, answer: WireAnswer): string[] => {
    if (asksUnknown(found, request)) return []
    const refusal = refusalOf(found, request, validatorOf)
    if (refusal !== undefined) return answer.status < 300 ? [`accepted although ${refusal}`] : []
    if (answer.status !== 400) return []
    const places = problemOf(answer)?.errors ?? []
    const bySchema = places.filter(({ code, pointer }) => schemaKeywords.has(code) && !beyondSchemas.test(pointer))
    return bySchema.map(({ pointer, code }) => `refused for ${code} at ${pointer}, which the document allows`)
  }

  return {
    faultsOf: (request, answer) => {
      const isHead = request.method === 'HEAD'
      const faults = [...serverFaults(answer), ...(isHead ? [] : problemFaults(answer))]
      const found = find(request)
      if (found) return [...faults, ...documented(found, answer, isHead), ...wrongVerdict(found, request, answer)]
      if (answer.status < 400 && !isHead)
        faults.push(`${answer.status} from an address that the document does not know`)
      return faults
    }
  }
}

const serverFaults = ({ status, body }: WireAnswer): string[] => {
  if (status < 500) return []
  if (status === 503) return []
  return [`${status}: ${body.toString('utf8').slice(0, 200)}`]
}

const problemFaults = (answer: WireAnswer): string[] => {
  const { status, headers } = answer
  if (status < 400 || status === 416) return []
  const problem = problemOf(answer)
  if (!problem) return status === 503 && parse(answer.body) !== undefined ? [] : [`${status} is not a problem`]
  const known = problemTable[problem.code as keyof typeof problemTable]
  return [
    ...(known?.status === status ? [] : [`code ${problem.code} with status ${status}`]),
    ...(problem.status === status ? [] : [`status ${problem.status} in a problem answered with ${status}`]),
    ...(headers['x-request-id'] === problem.requestId ? [] : ['X-Request-Id and requestId differ']),
    ...(status === 405 && !headers.allow ? ['405 without Allow'] : []),
    ...((status === 429 || status === 503) && !/^[1-9]\d*$/.test(headers['retry-after'] ?? '')
      ? [`${status} without an honest Retry-After`]
      : [])
  ]
}

type ProblemBody = {
  readonly status: number
  readonly code: string
  readonly requestId?: string
  readonly errors?: readonly { readonly pointer: string; readonly code: string }[]
}

const problemOf = ({ headers, body }: WireAnswer): ProblemBody | undefined =>
  headers['content-type']?.startsWith('application/problem+json') ? (parse(body) as ProblemBody) : undefined

const parse = (body: Buffer): unknown => {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
}

/** OpenAPI cannot say whether a parameter that it does not list is taken. */
const asksUnknown = ({ operation }: Found, { target }: WireRequest): boolean => {
  const listed = (operation.parameters ?? []).filter(one => one.in === 'query').map(({ name }) => name)
  return [...queryOf(target).keys()].some(name => !listed.includes(name))
}

/** Why the document refuses a request, as far as its parameters and its body tell; undefined when it takes it. */
const refusalOf = (
  { operation, pointer }: Found,
  request: WireRequest,
  validatorOf: (pointer: string) => ValidateFunction
): string | undefined => {
  const path = request.target.split('?', 1)[0]!
  const query = queryOf(request.target)
  const twice = [...query.keys()].find(name => query.getAll(name).length > 1)
  if (twice !== undefined) return `query ${twice} stands twice`
  const given = { path: pathValues(pointer, path), query: Object.fromEntries(query), header: request.headers }
  for (const [i, parameter] of (operation.parameters ?? []).entries()) {
    const text = (given[parameter.in] as Readonly<Record<string, string>>)[parameter.name]
    if (text === undefined && parameter.required) return `${parameter.in} ${parameter.name} is missing`
    if (text === undefined) continue
    const validate = validatorOf(`${pointer}/parameters/${i}/schema`)
    if (![text, ...asNumberOrBoolean(text)].some(value => validate(value)))
      return `${parameter.in} ${parameter.name} does not fit`
  }
  return bodyRefusal({ operation, pointer }, request, validatorOf)
}

const bodyRefusal = (
  { operation, pointer }: Found,
  { body, headers }: WireRequest,
  validatorOf: (pointer: string) => ValidateFunction
): string | undefined => {
  const json = operation.requestBody?.content['application/json']
  if (!json) return undefined
  if (!headers['content-type']?.startsWith('application/json')) return 'the body is not JSON by its type'
  const value = parse(body ?? Buffer.of())
  if (value === undefined) return 'the body is not JSON'
  const validate = validatorOf(`${pointer}/requestBody/content/application~1json/schema`)
  return validate(value) ? undefined : 'the body does not fit its schema'
}

const pathValues = (pointer: string, path: string): Record<string, string> => {
  const template = unescapePointer(pointer.split('/')[2]!)
  const match = toRegExp(template).exec(path)
  const names = [...template.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name!)
  return Object.fromEntries(names.map((name, i) => [name, decode(match?.[i + 1] ?? '')]))
}

const queryOf = (target: string): URLSearchParams => new URLSearchParams(target.split('?').slice(1).join('?'))

const asNumberOrBoolean = (text: string): unknown[] => {
  if (text === 'true' || text === 'false') return [text === 'true']
  return /^-?\d+(\.\d+)?$/.test(text) ? [Number(text)] : []
}

const decode = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

const toRegExp = (path: string): RegExp =>
  new RegExp(`^${path.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{[^}]+\}/g, '([^/]+)')}$`)

const escapePointer = (part: string): string => part.replaceAll('~', '~0').replaceAll('/', '~1')
const unescapePointer = (part: string): string => part.replaceAll('~1', '/').replaceAll('~0', '~')
