import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { smallPrompt } from '../stage.ts'
import { type HostileCase, toGenerate } from './hostile.ts'

type Headers = Readonly<Record<string, string>>

const prompt = JSON.stringify(smallPrompt)
const withMetadata = (json: string): string => `{"prompt":${prompt},"metadata":${json}}`
const list = (count: number, item: string): string => `[${Array.from({ length: count }, () => item).join(',')}]`
const members = (count: number): string => `{${Array.from({ length: count }, (_, n) => `"${n}":"x"`).join(',')}}`
const large = 11 * 1024 * 1024

const refused =
  (status: number, code: string) =>
  (what: string, body: string | Buffer, headers: Headers = {}): HostileCase => ({
    ...{ what, request: toGenerate(body, headers), status, code }
  })
const invalid = refused(400, 'validation-failed')
const wrongType = refused(415, 'unsupported-media-type')
const tooLarge = refused(413, 'payload-too-large')

const notObjects = [
  'null',
  'true',
  '1',
  '"x"',
  '[]',
  '{}',
  '',
  ' \n',
  '{',
  '[1',
  '{"prompt"',
  'undefined',
  "{'prompt':{}}"
]
const notNumbers = ['NaN', 'Infinity', '-Infinity', '0x10', '01', '+1', '.5', '1.', '1_000', '//', '/**/0']

/** Bodies that no service may take: their shape, their encoding, their size. */
export const hostileBodies = (): HostileCase[] => [
  ...notObjects.map(text => invalid(`the body ${JSON.stringify(text)}`, text)),
  ...notNumbers.map(word => invalid(word, withMetadata(`{"a":${word}}`))),
  invalid('objects 65 deep', withMetadata(`${'{"a":'.repeat(64)}0${'}'.repeat(64)}`)),
  invalid('lists 100,000 deep', withMetadata('['.repeat(100_000) + ']'.repeat(100_000))),
  invalid('lists that never end', '['.repeat(1_000_000)),
  invalid('60,000 empty objects', withMetadata(`{"a":${list(60_000, '{}')}}`)),
  invalid('300,000 numbers', withMetadata(`{"a":${list(300_000, '0')}}`)),
  invalid('300,000 fields', withMetadata(members(300_000))),
  invalid('metadata of 5 KiB', withMetadata(`{"a":"${'x'.repeat(5_120)}"}`)),
  invalid('metadata of 4 KiB only in bytes', withMetadata(`{"a":"${'ü'.repeat(2_100)}"}`)),
  invalid('a number beyond a double', withMetadata('{"a":1e400}')),
  invalid('a number of 400 digits', withMetadata(`{"a":${'9'.repeat(400)}}`)),
  invalid('__proto__', withMetadata('{"__proto__":{"isAdmin":true}}')),
  invalid('__proto__ in other letters', withMetadata('{"\\u005f_proto__":{"isAdmin":true}}')),
  invalid('constructor.prototype', withMetadata('{"constructor":{"prototype":{"a":1}}}')),
  invalid('a key twice', `{"prompt":{},"prompt":${prompt}}`),
  invalid('a key twice, deep down', withMetadata('{"a":[{"b":1,"b":2}]}')),
  invalid('two values', withMetadata('{}').repeat(2)),
  invalid('a control character in a text', withMetadata('{"a":"\u0001"}')),
  invalid('a byte order mark', `\ufeff${withMetadata('{}')}`),
  invalid(
    'bytes that are not UTF-8',
    Buffer.concat([Buffer.from('{"prompt":"'), Buffer.from([0xc0, 0xaf, 0x22, 0x7d])])
  ),
  invalid('17 labels', `{"prompt":${prompt},"nodeSelector":${members(17)}}`),
  invalid('a priority of a text', `{"prompt":${prompt},"priority":"50"}`),
  invalid('a time without end', `{"prompt":${prompt},"timeoutSeconds":1e300}`),
  invalid('another spelling of a field', `{"prompt":${prompt},"Priority":50}`),
  wrongType('gzip', gzipSync(withMetadata('{}')), { 'content-encoding': 'gzip' }),
  wrongType('a gzip bomb', gzipSync(Buffer.alloc(4 * large)), { 'content-encoding': 'gzip' }),
  wrongType('deflate', deflateSync(withMetadata('{}')), { 'content-encoding': 'deflate' }),
  wrongType('brotli', brotliCompressSync(withMetadata('{}')), { 'content-encoding': 'br' }),
  wrongType('two encodings', withMetadata('{}'), { 'content-encoding': 'identity, gzip' }),
  wrongType('text/plain', withMetadata('{}'), { 'content-type': 'text/plain' }),
  wrongType('a form', 'prompt=%7B%7D', { 'content-type': 'application/x-www-form-urlencoded' }),
  wrongType('multipart', '--x--', { 'content-type': 'multipart/form-data; boundary=x' }),
  wrongType('no type', withMetadata('{}'), { 'content-type': '' }),
  wrongType('UTF-16', Buffer.from(withMetadata('{}'), 'utf16le'), {
    'content-type': 'application/json; charset=utf-16'
  }),
  tooLarge('a text of 11 MiB', withMetadata(`{"a":"${'x'.repeat(large)}"}`)),
  tooLarge('11 MiB of space', ' '.repeat(large)),
  tooLarge('11 MiB of no JSON', '\u0000'.repeat(large))
]
