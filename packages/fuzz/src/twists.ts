import fc from 'fast-check'
import type { Form } from './uploads.ts'

/** A request while it is made: its parts as values, or `text` where a twist has spoilt the body's bytes. */
export type Draft = {
  readonly method: string
  readonly url: string
  readonly params: Readonly<Record<string, unknown>>
  readonly query: Readonly<Record<string, unknown>>
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
  readonly text?: Buffer
  /** Where the endpoint takes a form instead of JSON. */
  readonly form?: Form
  readonly twisted: readonly string[]
}

/** Makes one thing about a request wrong, or at least odd. */
export type Twist = (draft: Draft) => Draft

const deep = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`
const oddValues = [
  ...[null, true, 0, -1, 1.5, 1e308, -0, 2 ** 53, 18446744073709552000, '', ' ', '\u0000', '\ud800', '💥'.repeat(50)],
  ...['x'.repeat(5_000), [], {}, [[]], { a: { b: [{}] } }, 'NaN', '1e999', '__proto__', '../../etc/passwd'],
  ...Array.from({ length: 2 }, (_, i) => Array.from({ length: 10 ** (i + 2) }, (_, n) => n))
]
const oddTexts = [
  ...['', ' ', '.', '..', '../..', '..\\..', '%', '%00', '%2e%2e%2f', 'a/b', 'a\u0000b', 'a\r\nb', '\u202e', 'ſ', '💥'],
  ...[
    '0',
    '-1',
    '1e9',
    '00',
    '+1',
    '0x10',
    'null',
    'true',
    'undefined',
    '[]',
    '{}',
    'x'.repeat(255),
    'x'.repeat(5_000)
  ],
  ...["' OR 1=1 --", '$(7*7)', '{{7*7}}', '<script>', 'self', '*', ':id', 'constructor', '__proto__', 'toString']
]
const oddHeaders: readonly (readonly [string, string])[] = [
  ['content-type', 'text/plain'],
  ['content-type', 'application/json; charset=utf-16'],
  ['content-type', 'multipart/form-data'],
  ['content-type', 'multipart/form-data; boundary=x'],
  ['content-type', 'application/x-www-form-urlencoded'],
  ['content-type', ''],
  ['content-encoding', 'gzip'],
  ['content-encoding', 'identity'],
  ['accept', 'text/html'],
  ['accept', 'application/xml;q=0'],
  ['accept-encoding', 'gzip, br'],
  ['range', 'bytes=0-0'],
  ['range', 'bytes=999999999999-'],
  ['range', 'bytes=-1'],
  ['range', 'bytes=5-1,7-'],
  ['if-none-match', '*'],
  ['if-range', '"x"'],
  ['if-match', '"x"'],
  ['last-event-id', '999999999999999'],
  ['last-event-id', 'x'],
  ['prefer', 'wait=0, respond-async'],
  ['prefer', 'wait="1"; wait=99999999999'],
  ['idempotency-key', 'twice'],
  ['idempotency-key', 'x'.repeat(300)],
  ['idempotency-key', 'å'],
  ['x-request-id', 'a'.repeat(65)],
  ['x-request-id', 'my.request-1'],
  ['x-http-method-override', 'DELETE'],
  ['x-forwarded-for', '127.0.0.1'],
  ['x-forwarded-host', 'evil.example'],
  ['host', 'evil.example'],
  ['origin', 'https://evil.example'],
  ['traceparent', '00-zz-zz-00'],
  ['cookie', 'a=b'],
  ['upgrade', 'websocket'],
  ['authorization', 'Bearer cbk_0000000000000000_x'],
  ['authorization', 'Basic YTpi'],
  ['x-many', 'x'.repeat(8_000)]
]

const named =
  (name: string, twist: Twist): Twist =>
  draft => {
    const after = twist(draft)
    return after === draft ? draft : { ...after, twisted: [...draft.twisted, name] }
  }

const nth = <T>(values: readonly T[], n: number): T => values[n % values.length]!

/** Puts a value at a place of a JSON value that `n` chooses, or takes that place away when it is undefined. */
const put = (json: unknown, n: number, value: unknown): unknown => {
  if (typeof json !== 'object' || json === null || n % 4 === 0) return value
  const names = Object.keys(json)
  if (names.length === 0) return value
  const name = nth(names, n)
  const inner = (json as Record<string, unknown>)[name]
  const next = put(inner, Math.floor(n / 3), value)
  if (Array.isArray(json)) return json.map((one, i) => (String(i) === name ? next : one))
  const { [name]: _, ...others } = json as Record<string, unknown>
  return next === undefined ? others : { ...others, [name]: next }
}

const onBody = (name: string, change: (body: unknown) => unknown): Twist =>
  named(name, draft => (draft.body === undefined ? draft : { ...draft, body: change(draft.body) }))

const onText = (name: string, change: (text: string) => string | Buffer): Twist =>
  named(name, draft =>
    draft.body === undefined ? draft : { ...draft, text: Buffer.from(change(JSON.stringify(draft.body))) }
  )

const valueTwist = fc
  .tuple(fc.nat(), fc.constantFrom(...oddValues))
  .map(([n, value]) => onBody('another value', body => put(body, n, value)))
const dropTwist = fc.nat().map(n => onBody('a field less', body => put(body, n * 4 + 1, undefined) ?? {}))
const extraTwist = fc
  .tuple(fc.constantFrom('extra', 'Prompt', 'prompt ', 'constructor', 'toJSON', 'é'), fc.constantFrom(...oddValues))
  .map(([name, value]) => onBody('a field more', body => ({ ...(body as object), [name]: value })))

const textTwist = fc.tuple(fc.nat(), fc.nat(255)).chain(([n, byte]) =>
  fc.constantFrom(
    onText('cut off', text => text.slice(0, n % Math.max(1, text.length))),
    onText('another byte', text => {
      const bytes = Buffer.from(text)
      bytes[n % bytes.length] = byte
      return bytes
    }),
    onText('byte order mark', text => `\ufeff${text}`),
    onText('twice', text => text + text),
    onText('empty', () => ''),
    onText('a key twice', text => text.replace(/^\{/, '{"prompt":{},"prompt":{},')),
    onText('__proto__', text => text.replace(/^\{/, '{"__proto__":{"a":1},')),
    onText('a huge number', text => text.replace(/\d+/, '1e400')),
    onText('many digits', text => text.replace(/\d+/, '9'.repeat(400))),
    onText('deep', text => text.replace(/\}$/, `,"metadata":${deep(1 + (n % 3_000))}}`)),
    onText('not JSON', () => `{"a":${'NaN'}}`)
  )
)

const headerTwist = fc
  .constantFrom(...oddHeaders)
  .map(([name, value]) =>
    named(`${name}: ${value.slice(0, 30)}`, draft => ({ ...draft, headers: { ...draft.headers, [name]: value } }))
  )

const paramTwist = fc
  .tuple(fc.nat(), fc.oneof(fc.constantFrom(...oddTexts), fc.string({ unit: 'binary', maxLength: 300 })))
  .map(([n, text]) =>
    named('odd path', draft => {
      const names = Object.keys(draft.params)
      return names.length === 0 ? draft : { ...draft, params: { ...draft.params, [nth(names, n)]: text } }
    })
  )

const queryTwist = fc
  .tuple(fc.nat(), fc.constantFrom('limit', 'wait', 'state', 'cursor', 'redirect', 'x'), fc.constantFrom(...oddTexts))
  .map(([n, other, text]) =>
    named('odd query', draft => {
      const name = nth([...Object.keys(draft.query), other], n)
      return { ...draft, query: { ...draft.query, [name]: n % 5 === 0 ? [text, text] : text } }
    })
  )

const methodTwist = fc
  .constantFrom('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND')
  .map(method => named(`as ${method}`, draft => ({ ...draft, method })))

const strayBodyTwist = fc
  .constantFrom('{}', 'null', '[', 'x', '{"a":1}')
  .map(text =>
    named('a stray body', draft => (draft.body === undefined ? { ...draft, text: Buffer.from(text) } : draft))
  )

/** Every way to spoil a request, one of them a run. */
export const twists: fc.Arbitrary<Twist> = fc.oneof(
  { weight: 4, arbitrary: valueTwist },
  { weight: 2, arbitrary: dropTwist },
  { weight: 2, arbitrary: extraTwist },
  { weight: 3, arbitrary: textTwist },
  { weight: 4, arbitrary: headerTwist },
  { weight: 3, arbitrary: paramTwist },
  { weight: 3, arbitrary: queryTwist },
  { weight: 2, arbitrary: methodTwist },
  { weight: 1, arbitrary: strayBodyTwist }
)
