import { createHash } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { request } from 'node:http'
import { connect as connectSocket } from 'node:net'
import { join } from 'node:path'
import type { Catalog } from '@comfy-balancer/contract/catalog'
import type { UploadedInput } from '@comfy-balancer/contract/input'
import type { Problem } from '@comfy-balancer/contract/problem'
import type { Task } from '@comfy-balancer/contract/task'
import { createFolderStore } from '@comfy-balancer/storage/folder-store'
import { createInputFiles } from '@comfy-balancer/storage/input-files'
import { inputLimitsOf } from '@comfy-balancer/task-api/config'
import { createInputLibrary } from '@comfy-balancer/task-api/inputs/input-library'
import { createKeys } from '@comfy-balancer/task-store/keys'
import { openScratchLedger } from '@comfy-balancer/task-store/scratch-ledger'
import { aNode } from '@comfy-balancer/task-store/scratch-node'
import t, { type Test } from 'tap'
import { openBalancer } from './balancer.ts'

const maxBytes = 2_000_000
const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64'
)
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

const catalog: Catalog = {
  classes: {
    LoadImage: { output: false, required: ['image'], choices: {}, uploads: ['image'] },
    PathOfImage: { output: false, required: ['path'], choices: {}, uploads: [] },
    SaveImage: { output: true, required: ['images'], choices: {}, uploads: [] }
  },
  lists: [],
  modelBytes: {}
}

/** A balancer without its dispatch loops, with a folder for its files and a node that only its records know. */
const open = async (t: Test, env: Record<string, string> = {}) => {
  const folder = t.testdir({})
  const store = await createFolderStore({ folder })
  const { url, ledger, redis, config } = await openBalancer(t, {
    ...{ store, env: { INPUT_MAX_BYTES: String(maxBytes), ...env } }
  })
  await ledger.nodes.register(aNode({ catalog, files: ['here.png'] }))
  const upload = (bytes: Uint8Array, name = 'ref.png', headers: Record<string, string> = {}) => {
    const body = new FormData()
    body.append('file', new Blob([bytes]), name)
    return fetch(`${url}/api/v1/inputs`, { method: 'POST', body, headers })
  }
  const uploaded = async (bytes: Uint8Array, name?: string): Promise<UploadedInput> => {
    const answer = await upload(bytes, name)
    if (answer.status !== 201) throw new Error(await answer.text())
    return (await answer.json()) as UploadedInput
  }
  const post = (body: object, headers: Record<string, string> = {}) =>
    fetch(`${url}/api/v1/generate`, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json', ...headers }
    })
  /** Posts what must be refused; its problem in short. */
  const refusal = async (body: object) => {
    const { status, code, errors } = (await (await post(body)).json()) as Problem
    return { status, code, pointer: errors?.[0]?.pointer, why: errors?.[0]?.detail }
  }
  const files = () =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(name => /inputs.[0-9a-f-]{36}$/.test(name))
  const library = createInputLibrary({ ledger, files: createInputFiles(store), limits: inputLimitsOf(config) })
  const keys = createKeys(ledger.prefix)
  return { url, ledger, redis, keys, upload, uploaded, post, refusal, files, library }
}

/** One picture a value: each is loaded by that name and saved. */
const loading = (...images: string[]) =>
  Object.fromEntries(
    images.flatMap((image, at) => [
      [`l${at}`, { class_type: 'LoadImage', inputs: { image } }],
      [`s${at}`, { class_type: 'SaveImage', inputs: { images: [`l${at}`, 0], filename_prefix: 'x' } }]
    ])
  )

t.test('an upload is kept by its content, once, and longer with every use', async t => {
  const { uploaded, files, ledger, post, redis, keys, library } = await open(t)
  const first = await uploaded(png)
  t.match(first, { id: `input_${sha256(png)}`, sha256: sha256(png), bytes: png.length, mediaType: 'image/png' })
  const expires = Date.parse(first.expiresAt)
  t.ok(expires > Date.now() + 6 * 86_400_000)
  const again = await uploaded(png, 'other.bin')
  t.equal(again.id, first.id)
  t.ok(Date.parse(again.expiresAt) >= expires)
  t.equal(await ledger.inputs.find('somebody-else', first.id), undefined, 'it is its tenant’s alone')

  t.equal(files().length, 2, 'what was replaced may still be read')
  await redis.zadd(keys.waste(), 'XX', 1, (await redis.zrange(keys.waste(), '0', '-1'))[0]!)
  await library.sweep()
  t.equal(files().length, 1)
  t.match((await ledger.inputs.find('default', first.id))?.path, files()[0]!.replaceAll('\\', '/'))

  const body = { prompt: loading('ref.png'), inputs: { 'ref.png': { upload: first.id } }, deadlineSeconds: 60 }
  await redis.zadd(keys.inputs(), 'XX', Date.now() + 5_000, `default:${first.sha256}`)
  t.equal((await post(body)).status, 202)
  t.ok((await ledger.inputs.find('default', first.id))!.expiresMs > Date.now() + 6 * 86_400_000)
  await redis.zadd(keys.inputs(), 'XX', 1, `default:${first.sha256}`)
  await library.sweep()
  t.same(files(), [], 'and removed when nobody needs it any more')
  t.match(await (await post(body)).json(), { status: 422, code: 'input-invalid' })
  t.equal((await uploaded(png)).id, first.id, 'it may come back')
})

t.test('uploads and base64 beyond what a tenant may keep are refused, and leave nothing behind', async t => {
  const { upload, uploaded, post, files } = await open(t, { INPUT_TENANT_BYTES: '1000' })
  const first = await uploaded(Buffer.alloc(600, 1), 'a.bin')
  const refused = await upload(Buffer.alloc(600, 2), 'b.bin')
  t.match(
    [refused.status, await refused.json()],
    [429, { code: 'quota-exceeded', detail: /600 bytes.*600 more.*1000/ }]
  )
  t.ok(Number(refused.headers.get('retry-after')) > 6 * 86_400, 'none goes before it has expired')
  const large = await upload(Buffer.alloc(1_001, 3), 'c.bin')
  t.match([large.status, await large.json()], [413, { code: 'payload-too-large', detail: /1001 bytes.*1000/ }])
  const base64 = Buffer.alloc(500, 4).toString('base64')
  const inputs = { 'd.bin': { base64 } }
  t.equal((await post({ prompt: loading('d.bin'), inputs })).status, 429)
  t.equal((await uploaded(Buffer.alloc(600, 1), 'a.bin')).id, first.id, 'the same bytes again are none more')
  t.equal(files().length, 2, 'the copy that was replaced may still be read')
})

t.test('a file is what its bytes say; what they do not tell is taken as data', async t => {
  const { uploaded } = await open(t)
  const cases: [Buffer, string, string][] = [
    [png, 'lies.exe', 'image/png'],
    [Buffer.from('<svg onload="alert(1)"/>'), 'x.svg', 'image/svg+xml'],
    [Buffer.from('MZ\x90'), 'x.exe', 'application/octet-stream'],
    [Buffer.from('fLaC0000'), '', 'audio/flac'],
    [Buffer.from('{"a":1}'), 'data.json', 'application/json']
  ]
  for (const [bytes, name, mediaType] of cases) t.match(await uploaded(bytes, name), { mediaType }, name)
  const names = [
    '../../etc/passwd',
    '..\\..\\x.png',
    '/abs.png',
    'a\u0000b.png',
    'x.png [output]',
    'CON',
    '💾'.repeat(500)
  ]
  for (const name of names) t.match(await uploaded(png, name), { id: `input_${sha256(png)}` }, 'no name leads anywhere')
})

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
const u16 = (...values: number[]): Buffer => Buffer.concat(values.map(value => u32(value).subarray(2)))
const pngOf = (width: number, height: number): Buffer =>
  Buffer.concat([png.subarray(0, 16), u32(width), u32(height), png.subarray(24)])
const jpegOf = (width: number, height: number, before = Buffer.alloc(0)): Buffer =>
  Buffer.concat([Buffer.from('ffd8', 'hex'), before, Buffer.from('ffffc2001108', 'hex'), u16(height, width), png])
const webp = (kind: string, body: Buffer): Buffer =>
  Buffer.concat([Buffer.from('RIFF0000WEBP'), Buffer.from(kind), Buffer.alloc(4), body, png])
const gifOf = (width: number, height: number): Buffer =>
  Buffer.concat([Buffer.from('GIF89a'), u16(width, height).swap16(), png])

t.test(
  'an image that would unfold to more pixels than allowed, or does not say how many, is refused by its header',
  async t => {
    const { upload, uploaded, files } = await open(t, { INPUT_MAX_PIXELS: '4000000' })
    const exif = Buffer.concat([Buffer.from('ffe1', 'hex'), u16(60_000), Buffer.alloc(59_998)])
    const bombs: Record<string, Buffer> = {
      'png 30000²': pngOf(30_000, 30_000),
      'png 2³²−1': pngOf(0xffffffff, 0xffffffff),
      'png without a size': pngOf(0, 7),
      'png cut off': png.subarray(0, 20),
      'png without IHDR': Buffer.concat([png.subarray(0, 8), Buffer.alloc(40)]),
      'jpeg 65535²': jpegOf(65_535, 65_535, exif),
      'jpeg without a frame': Buffer.concat([Buffer.from('ffd8', 'hex'), exif]),
      'jpeg of nothing but fill': Buffer.concat([Buffer.from('ffd8', 'hex'), Buffer.alloc(5_000, 0xff)]),
      'jpeg whose frame never comes': Buffer.concat([Buffer.from('ffd8', 'hex'), ...Array(25).fill(exif)]),
      'webp lossy': webp('VP8 ', Buffer.concat([Buffer.from('0000009d012a', 'hex'), u16(16_383, 16_383).swap16()])),
      'webp lossless': webp('VP8L', Buffer.from('2fffffffff', 'hex')),
      'webp extended': webp('VP8X', Buffer.from('00000000ffffffffffff', 'hex')),
      'webp of no kind': webp('VP9 ', Buffer.alloc(20)),
      'gif 65535²': gifOf(65_535, 65_535),
      avif: Buffer.concat([
        Buffer.from('0000ftypavif'),
        Buffer.alloc(30),
        Buffer.from('ispe\0\0\0\0'),
        u32(30_000),
        u32(30_000)
      ]),
      nothing: Buffer.alloc(0)
    }
    for (const [name, bytes] of Object.entries(bombs)) {
      const answer = await upload(bytes, 'x.png')
      const problem = { status: 422, code: 'input-invalid', errors: [{ pointer: '/file', code: 'input-invalid' }] }
      t.match(await answer.json(), problem, name)
    }
    t.same(files(), [], 'nothing of them is kept')
    for (const fine of [pngOf(2_000, 2_000), jpegOf(640, 480, exif), gifOf(10, 10)]) await uploaded(fine)
    await uploaded(webp('VP8X', Buffer.from('00000000ff0000ff0000', 'hex')))
  }
)

/** Sends a form as its bytes, with or without saying how long it is. */
const sendRaw = (url: string, body: Buffer, headers: Record<string, string>, isChunked = false): Promise<string> =>
  new Promise((resolve, reject) => {
    const length = isChunked ? {} : { 'content-length': String(body.length) }
    const sent = request(`${url}/api/v1/inputs`, { method: 'POST', headers: { ...headers, ...length } }, answer => {
      let text = ''
      answer.setEncoding('utf8').on('data', chunk => {
        text += chunk
      })
      answer.on('end', () => resolve(`${answer.statusCode} ${JSON.parse(text).code}`))
    })
    sent.on('error', reject)
    sent.end(body)
  })

const part = (name: string, body: string | Buffer, filename?: string): Buffer =>
  Buffer.concat([
    Buffer.from(`--b\r\nContent-Disposition: form-data; name="${name}"`),
    Buffer.from(`${filename === undefined ? '' : `; filename="${filename}"`}\r\n\r\n`),
    typeof body === 'string' ? Buffer.from(body) : body,
    Buffer.from('\r\n')
  ])
const form = (...parts: Buffer[]): Buffer => Buffer.concat([...parts, Buffer.from('--b--\r\n')])
const formType = { 'content-type': 'multipart/form-data; boundary=b' }

t.test('a form that is not exactly one file is refused, and leaves nothing', async t => {
  const { url, files, upload, redis, keys } = await open(t)
  const file = part('file', png, 'a.png')
  const refused: [string, string, Buffer, Record<string, string>][] = [
    ['no part', '400 validation-failed', form(), formType],
    ['a field instead', '400 validation-failed', form(part('file', 'x')), formType],
    ['another name', '400 validation-failed', form(part('image', png, 'a.png')), formType],
    ['two files', '400 validation-failed', form(file, part('file', 'second', 'b.png')), formType],
    ['a field before', '400 validation-failed', form(part('type', 'input'), file), formType],
    ['a field after', '400 validation-failed', form(file, part('type', 'input')), formType],
    ['many parts', '400 validation-failed', form(...Array(5_000).fill(part('x', 'y'))), formType],
    ['cut off', '400 validation-failed', form(file).subarray(0, 120), formType],
    ['no boundary', '400 validation-failed', form(file), { 'content-type': 'multipart/form-data' }],
    ['not a form', '415 unsupported-media-type', Buffer.from('{}'), { 'content-type': 'application/json' }],
    ['bare bytes', '415 unsupported-media-type', png, { 'content-type': 'image/png' }],
    ['compressed', '415 unsupported-media-type', form(file), { ...formType, 'content-encoding': 'gzip' }],
    ['of another site', '403 forbidden', form(file), { ...formType, origin: 'https://evil.example' }],
    ['of a sandbox', '403 forbidden', form(file), { ...formType, origin: 'null' }],
    ['too large', '413 payload-too-large', form(part('file', Buffer.alloc(maxBytes + 1, 1), 'a.bin')), formType],
    ['far too large', '413 payload-too-large', form(part('file', Buffer.alloc(maxBytes * 3, 1), 'a.bin')), formType]
  ]
  for (const [what, answer, body, headers] of refused) {
    const isOversized = what === 'far too large'
    if (!isOversized) t.equal(await sendRaw(url, body, headers), answer, what)
    t.equal(await sendRaw(url, body, headers, true), answer, `${what}, in chunks`)
  }
  t.same(files(), [])
  t.equal(await redis.exists(keys.inputs()), 0)
  t.equal((await upload(png, 'a.png', { origin: url })).status, 201, 'the page at /docs may')
})

t.test('a caller that goes away in the middle leaves nothing', async t => {
  const { url, files } = await open(t)
  const { port, hostname } = new URL(url)
  const socket = connectSocket(Number(port), hostname)
  socket.on('error', () => {})
  const head = [
    'POST /api/v1/inputs HTTP/1.1',
    'host: x',
    `content-type: ${formType['content-type']}`,
    'content-length: 900000'
  ]
  socket.write(`${head.join('\r\n')}\r\n\r\n`)
  socket.write(part('file', Buffer.alloc(400_000, 1), 'a.bin'))
  const incoming = () => readdirSync(join(t.testdirName, '.incoming'))
  const until = async (isSo: () => boolean) => {
    const end = Date.now() + 20_000
    while (!isSo() && Date.now() < end) await new Promise(resolve => setTimeout(resolve, 10))
    return isSo()
  }
  t.ok(await until(() => incoming().length > 0))
  socket.destroy()
  t.ok(await until(() => incoming().length === 0))
  t.same(files(), [])
})

t.test('what comes along counts as there, and only references reach the ledger', async t => {
  const { post, ledger, uploaded, files } = await open(t)
  const { id } = await uploaded(Buffer.from('fLaC data'), 'sound.flac')
  const body = {
    prompt: {
      ...loading('ref.png', 'Ünïcode (1).PNG', 'web.png', 'here.png'),
      p: { class_type: 'PathOfImage', inputs: { path: 'sound.flac' } }
    },
    inputs: {
      'ref.png': { base64: png.toString('base64') },
      'Ünïcode (1).PNG': { base64: png.toString('base64') },
      'web.png': { url: 'https://images.example/x.png' },
      'sound.flac': { upload: id }
    }
  }
  const answer = await post(body, { 'idempotency-key': 'k1' })
  t.equal(answer.status, 202)
  const task = (await answer.json()) as Task
  const kept = JSON.parse((await ledger.tasks.body(task.id))!)
  const upload = `input_${sha256(png)}`
  const inputs = {
    'ref.png': { upload },
    'Ünïcode (1).PNG': { upload },
    'web.png': body.inputs['web.png'],
    'sound.flac': { upload: id }
  }
  t.same(kept, { prompt: body.prompt, inputs })
  const need = await ledger.waiting.need((await ledger.tasks.find(task.id))!.need)
  t.same(
    need?.files,
    [{ classType: 'LoadImage', input: 'image', value: 'here.png' }],
    'the rest is no part of the need'
  )
  const before = files().length
  const replay = await post(body, { 'idempotency-key': 'k1' })
  t.match([await replay.json(), replay.headers.get('idempotency-replayed')], [{ id: task.id }, 'true'])
  t.ok(files().length >= before)

  const digits = `{"prompt":{"l0":{"class_type":"LoadImage","inputs":{"image":"a.png","seed":18446744073709551615,"cfg":1.0}},"s":{"class_type":"SaveImage","inputs":{"images":["l0",0]}}},"inputs":{"a.png":{"base64":"${png.toString('base64')}"}}}`
  const exact = await fetch(`${answer.url}`, {
    method: 'POST',
    body: digits,
    headers: { 'content-type': 'application/json' }
  })
  const text = await ledger.tasks.body(((await exact.json()) as Task).id)
  t.match(text, /"seed":18446744073709551615,"cfg":1\.0\}/, 'digits stay as they are')
  t.notMatch(text, /base64/)
})

t.test('names, sources and bytes that cannot be are refused with their place, and nothing is kept', async t => {
  const { refusal, files, redis, keys } = await open(t, { INPUT_MAX_PIXELS: '100' })
  const one = (name: string, source: object = { base64: png.toString('base64') }) =>
    refusal({ prompt: loading(name, 'here.png'), inputs: { [name]: source } })
  const names = [
    '../up.png',
    '..\\up.png',
    '/abs.png',
    'C:\\x.png',
    'c:x.png',
    'a/b.png',
    'a\\b.png',
    'nul\u0000.png',
    'new\nline.png',
    'rtl\u202egnp.png',
    '.hidden.png',
    ' space.png',
    'two..png',
    'dot.',
    'end.png ',
    'none',
    '',
    'x.png [output]',
    'x.png [input]',
    'x [temp].png [temp]',
    `${'a'.repeat(130)}.png`,
    '__proto__',
    'line\u2028.png',
    '\ud800.png'
  ]
  for (const [at, name] of names.entries()) {
    t.match(await one(name), { status: 400, code: 'validation-failed' }, `hostile name ${at}`)
  }
  const twins = { 'a.png': { base64: png.toString('base64') }, 'A.PNG': { base64: png.toString('base64') } }
  t.match(await refusal({ prompt: loading('a.png', 'A.PNG'), inputs: twins }), {
    status: 400,
    pointer: '/inputs/A.PNG'
  })

  const sources: [object, number, string][] = [
    [{}, 400, '/inputs/a.png'],
    [{ url: 'https://a.example/', base64: 'eA==' }, 400, '/inputs/a.png'],
    [{ file: 'x' }, 400, '/inputs/a.png/file'],
    [{ upload: '../../x' }, 400, '/inputs/a.png/upload'],
    [{ upload: `input_${'0'.repeat(64)}` }, 422, '/inputs/a.png/upload'],
    ...['!!!!', 'eA', 'eA=', 'eB==', ' eA==', 'eA==\n', 'data:image/png;base64,eA==', 'e-_=', 'ÄÄÄÄ', '===='].map(
      base64 => [{ base64 }, 400, '/inputs/a.png/base64'] as [object, number, string]
    ),
    [{ base64: Buffer.alloc(maxBytes + 1).toString('base64') }, 413, '/inputs/a.png/base64'],
    [{ base64: pngOf(11, 10).toString('base64') }, 422, '/inputs/a.png/base64']
  ]
  for (const [source, status, pointer] of sources) {
    t.match(await one('a.png', source), { status, pointer }, JSON.stringify(source).slice(0, 80))
  }
  const hostile = [
    'http://127.0.0.1/a.png',
    'http://2130706433/',
    'http://0x7f.1/',
    'http://017700000001/',
    'http://127.1/',
    'http://[::1]/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::127.0.0.1]/',
    'http://[64:ff9b::7f00:1]/',
    'http://[2002:7f00:1::]/',
    'http://0.0.0.0/',
    'http://10.1.2.3/',
    'http://192.168.0.1/',
    'http://100.64.0.1/',
    'http://169.254.169.254/latest/',
    'http://168.63.129.16/',
    'http://[fd00:ec2::254]/',
    'http://①②⑦.⓪.⓪.①/',
    'file:///etc/passwd',
    'ftp://a.example/',
    'gopher://a.example/',
    'https://u:p@a.example/',
    'https://a.example:6379/',
    'javascript:alert(1)',
    'data:image/png;base64,eA==',
    '//a.example/x',
    'not a url'
  ]
  for (const url of hostile) {
    t.match(await one('a.png', { url }), { status: 422, code: 'input-url-blocked', pointer: '/inputs/a.png/url' }, url)
  }
  t.match(
    await refusal({ prompt: loading('here.png'), inputs: { 'typo.png': { base64: png.toString('base64') } } }),
    { status: 422, code: 'workflow-invalid', pointer: '/inputs/typo.png' },
    'a name that nothing uses'
  )
  t.match(
    await refusal({ prompt: loading('missing.png', 'a.png'), inputs: { 'a.png': { base64: png.toString('base64') } } }),
    { status: 422, code: 'no-capable-node', pointer: '/prompt/l0/inputs/image' },
    'what does not come along is still missing'
  )
  const many = Object.fromEntries(Array.from({ length: 65 }, (_, at) => [`${at}.png`, { base64: 'eA==' }]))
  t.match(await refusal({ prompt: loading(...Object.keys(many)), inputs: many }), { status: 400, pointer: '/inputs' })
  t.same([files(), await redis.exists(keys.inputs(), keys.flows())], [[], 0])
})

t.test('in a group files come along once for all, and count as used when any shot uses them', async t => {
  const { post, refusal, ledger, files } = await open(t)
  const base64 = png.toString('base64')
  const upload = `input_${sha256(png)}`
  const one = { prompt: loading('a.png') }
  const two = { prompt: loading('b.png'), metadata: { shot: 2 } }
  const own = { prompt: loading('c.png'), inputs: { 'c.png': { base64 } } }
  const inputs = { 'a.png': { base64 }, 'b.png': { url: 'https://images.example/b.png' } }
  const answer = await post({ requests: [one, two, own], inputs, deadlineSeconds: 60 })
  t.equal(answer.status, 202)
  const { tasks } = (await answer.json()) as { tasks: { id: string }[] }
  const kept = await Promise.all(tasks.map(async ({ id }) => JSON.parse((await ledger.tasks.body(id))!).inputs))
  const shared = { 'a.png': { upload }, 'b.png': inputs['b.png'] }
  t.same(kept, [shared, shared, { 'c.png': { upload } }])
  t.equal(files().length, 1, 'stored once')

  t.match(await refusal({ requests: [one, two], inputs: { ...inputs, 'typo.png': { base64 } } }), {
    status: 422,
    pointer: '/inputs/typo.png'
  })
  t.match(await refusal({ requests: [one, { ...own, inputs: { ...own.inputs, 'd.png': { base64 } } }], inputs }), {
    status: 422,
    pointer: '/requests/1/inputs/d.png'
  })
  t.match(await refusal({ requests: [{ ...own, inputs: { 'c.png': { base64: '!' } } }] }), {
    status: 400,
    pointer: '/requests/0/inputs/c.png/base64'
  })
  const unknown = { ...own, inputs: { 'c.png': { upload: `input_${'1'.repeat(64)}` } } }
  t.match(await refusal({ requests: [own, unknown] }), { status: 422, pointer: '/requests/1/inputs/c.png/upload' })
})

t.test('what a template’s param or reference names may come along', async t => {
  const { url, post, refusal, ledger } = await open(t)
  const template = {
    input_schema: { properties: { photo: { type: 'string' } }, required: ['photo'] },
    prompt: loading('here.png'),
    bindings: { photo: '"l0".inputs.image' }
  }
  const headers = { 'content-type': 'application/json' }
  const put = await fetch(`${url}/api/v1/templates/avatar`, { method: 'PUT', body: JSON.stringify(template), headers })
  t.equal(put.status, 200)
  const inputs = { 'face.png': { base64: png.toString('base64') } }
  for (const given of [{ params: { photo: 'face.png' } }, { references: [{ name: 'photo', image: 'face.png' }] }]) {
    const answer = await post({ template: 'avatar', ...given, inputs })
    t.equal(answer.status, 202)
    const kept = JSON.parse((await ledger.tasks.body(((await answer.json()) as Task).id))!)
    t.match(kept, { prompt: loading('face.png'), inputs: { 'face.png': { upload: `input_${sha256(png)}` } } })
  }
  t.match(await refusal({ template: 'avatar', params: { photo: 'face.png' } }), {
    status: 422,
    pointer: '/params/photo'
  })
})

t.test('LoRAs that cannot be had are refused with their place; those that can choose their node', async t => {
  const { post, refusal, ledger, uploaded } = await open(t, { LORA_S3_PREFIXES: 's3://models/{tenant}/' })
  const { id } = await uploaded(Buffer.from('\u0002\0\0\0\0\0\0\0{}'), 'x.safetensors')
  const graph = (name: string) => ({
    p: { class_type: 'PathOfImage', inputs: { path: name } },
    s: { class_type: 'SaveImage', inputs: { images: ['p', 0] } }
  })
  const name = 'a.safetensors'
  const one = (lora: object, more: object = {}) =>
    refusal({ prompt: graph(name), loras: [{ name, source: id, ...lora }], ...more })
  t.match(await one({}), { status: 422, code: 'no-capable-node', pointer: '/loras' }, 'no node has a models folder')

  const gpu = (await ledger.nodes.find('gpu-a'))!
  const files = { digest: 'f', text: '["here.png"]' }
  const catalogText = { digest: 'c', text: JSON.stringify(catalog) }
  const labels = { 'comfy-balancer/loras': 'on-demand' }
  await ledger.nodes.register({ ...gpu, id: 'gpu-b', labels, catalog: catalogText, files, adoptToken: undefined })
  const accepted = async () => {
    const answer = await post({ prompt: graph(name), loras: [{ name, source: id }] })
    return answer.status === 202 && ((await answer.json()) as Task)
  }
  const end = Date.now() + 20_000
  let task = await accepted()
  while (!task && Date.now() < end) task = await accepted()
  const record = await ledger.tasks.find((task as Task).id)
  t.match(await ledger.waiting.need(record!.need), { labels, models: [] }, 'its name is no part of the need')

  const wrong: [object, number, string][] = [
    [{ name: '../a.safetensors' }, 400, '/loras/0/name'],
    [{ name: 'a/b.safetensors' }, 400, '/loras/0/name'],
    [{ name: 'a.ckpt' }, 400, '/loras/0/name'],
    [{ name: 'unused.safetensors' }, 422, '/loras/0/name'],
    [{ source: `input_${'0'.repeat(64)}` }, 422, '/loras/0/source'],
    [{ sha256: 'abc' }, 400, '/loras/0/sha256'],
    [{ path: 'x' }, 400, '/loras/0/path'],
    ...[
      's3://models/other/a.safetensors',
      's3://models/default/../other/a.safetensors',
      's3://other/a.safetensors',
      's3://models',
      's3:///a',
      's3://MODELS/default/a',
      'store:',
      'store:/etc/passwd',
      'store:../x',
      'store:a/../../x',
      'store:a//b',
      'store:a\\b',
      'store:.ssh/id',
      'store:a\u0000',
      'file:///etc/passwd',
      'https://a.example/a.safetensors',
      'a.safetensors',
      '/abs'
    ].map(source => [{ source }, 422, '/loras/0/source'] as [object, number, string])
  ]
  for (const [lora, status, pointer] of wrong) t.match(await one(lora), { status, pointer }, JSON.stringify(lora))
  const twice = {
    prompt: graph(name),
    loras: [
      { name, source: id },
      { name, source: id }
    ]
  }
  t.match(await refusal(twice), { status: 400, pointer: '/loras/1/name' })
  const both = { prompt: graph(name), loras: [{ name, source: id }], inputs: { [name]: { upload: id } } }
  t.match(await refusal(both), { status: 400, pointer: '/loras/0/name' })
})

t.test('a store that cannot take files is an honest 503', async t => {
  const { ledger, close } = openScratchLedger()
  t.teardown(close)
  const failing = (code: string) =>
    createInputLibrary({
      ledger,
      files: { put: async () => Promise.reject(Object.assign(new Error(code), { code })), remove: async () => {} },
      limits: { maxBytes: 1, maxPixels: 1, keepMs: 1 }
    })
  const put = (code: string) =>
    failing(code).put('default', { filename: 'x', body: (async function* () {})(), pointer: '/file' })
  for (const code of ['no-space', 'not-writable', 'unavailable'])
    await t.rejects(put(code), { code: 'store-unavailable' })
  await t.rejects(put('EIO'), { message: 'EIO' }, 'anything else is a bug')
})
