import type { Endpoint } from '@comfy-balancer/contract/endpoint'
import { schemas } from '@comfy-balancer/contract/schemas'
import fc from 'fast-check'
import type { WireRequest } from './request.ts'
import { createSchemaValues, type KnownValues, type Schema, type SchemaValues } from './schema-values.ts'
import { type Draft, twists } from './twists.ts'
import { uploads } from './uploads.ts'

/** What requests are made of besides the schemas: values worth trying by name, and keys to call with. */
export type RequestsDeps = {
  readonly known: KnownValues
  /** `Authorization` headers that are usual, and that are seldom used; undefined: none. */
  readonly callers: { readonly usual: readonly string[]; readonly odd: readonly (string | undefined)[] }
}

/** Requests to the endpoints of the contract: half of them as their schemas want them, the others twisted in one way or two. */
export const createRequests = (
  endpoints: readonly Endpoint[],
  { known, callers }: RequestsDeps
): fc.Arbitrary<WireRequest> => {
  const resolve = (name: string): Schema => {
    const found = schemas.find(({ $id }) => $id === name)
    if (!found) throw new Error(`the contract has no schema ${name}`)
    return found as unknown as Schema
  }
  const drafts = fc.oneof(...endpoints.map(endpoint => draftOf(endpoint, resolve, known)))
  const authorization = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...callers.usual) },
    { weight: 1, arbitrary: fc.constantFrom(...callers.odd) }
  )
  return fc
    .tuple(
      fc.tuple(drafts, authorization).map(withAuthorization),
      fc.array(twists, { minLength: 1, maxLength: 2 }),
      fc.boolean()
    )
    .map(([draft, chosen, isTwisted]) => toWire(isTwisted ? chosen.reduce((one, twist) => twist(one), draft) : draft))
}

const withAuthorization = ([draft, authorization]: readonly [Draft, string | undefined]): Draft =>
  authorization === undefined ? draft : { ...draft, headers: { ...draft.headers, authorization } }

const draftOf = (endpoint: Endpoint, resolve: (ref: string) => Schema, known: KnownValues): fc.Arbitrary<Draft> => {
  const { method, url, schema } = endpoint
  const kind = /^\/api\/v1\/([^/]+)/.exec(url)?.[1] ?? ''
  const valuesOf: SchemaValues = createSchemaValues({
    resolve,
    known: name => [...known(`${kind}.${name}`), ...known(name)]
  })
  const part = (one: unknown): fc.Arbitrary<Record<string, unknown>> =>
    (one ? valuesOf(one as Schema) : fc.constant({})) as fc.Arbitrary<Record<string, unknown>>
  const isForm = schema.consumes?.includes('multipart/form-data') ?? false
  const declared = { ...(schema.headers as Schema | undefined), additionalProperties: false }
  return fc.record({
    method: fc.constant(method),
    url: fc.constant(url),
    params: part(schema.params),
    query: part(schema.querystring),
    headers: schema.headers ? part(declared).map(textsOf) : fc.constant({}),
    body: schema.body && !isForm ? valuesOf(schema.body as unknown as Schema) : fc.constant(undefined),
    twisted: fc.constant([]),
    ...(isForm && { form: uploads })
  })
}

const textsOf = (values: Record<string, unknown>): Record<string, string> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, sendable(String(value))]))

/** A header can carry only so much; what it cannot is for the corpus of broken HTTP. */
const sendable = (text: string): string => text.replace(/[^\x20-\x7e\x80-\xff]/g, '?').trim()

const toWire = (draft: Draft): WireRequest => {
  const path = draft.url.replace(/:([A-Za-z]+)/g, (_, name: string) => encode(String(draft.params[name] ?? '')))
  const pairs = Object.entries(draft.query).flatMap(([name, value]) => [value].flat().map(one => [name, one] as const))
  const query = pairs.map(([name, value]) => `${encode(name)}=${encode(String(value))}`).join('&')
  const body =
    draft.text ??
    draft.form?.bytes ??
    (draft.body === undefined ? undefined : Buffer.from(JSON.stringify(draft.body) ?? ''))
  const type: Record<string, string> =
    body === undefined ? {} : { 'content-type': draft.form?.contentType ?? 'application/json' }
  return {
    method: draft.method,
    target: query === '' ? path : `${path}?${query}`,
    headers: { ...type, ...textsOf(draft.headers) },
    body,
    twist: [draft.form?.wrong, ...draft.twisted].filter(Boolean).join(', ')
  }
}

const encode = (text: string): string => encodeURIComponent(Buffer.from(text).toString())
