/** What every store must do, and what is particular to a folder and to S3. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3'
import { freePort } from '@comfy-balancer/local/port'
import { type S3Server, startS3Server } from '@comfy-balancer/local/s3-server'
import { until } from '@comfy-balancer/local/until'
import t, { type Test } from 'tap'
import { createFolderStore } from '../src/folder-store.ts'
import type { ObjectStore } from '../src/object-store.ts'
import { openStore } from '../src/open-store.ts'
import { outputPath, safeFilename, taskFolder } from '../src/output-path.ts'

const limits = { maxBytes: 1_000_000 }
const mebibyte = 2 ** 20
const path = outputPath({ tenant: 'default', taskId: 'task_1', token: 'abc', index: 0, filename: 'a.png' })

const aFolder = (t: Test): string => {
  const folder = mkdtempSync(join(tmpdir(), 'objects-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const aStore = async (t: Test) => {
  const folder = join(aFolder(t), 'not', 'there', 'yet')
  return { folder, store: await createFolderStore({ folder, minFreeBytes: 0 }) }
}

const s3Folder = mkdtempSync(join(tmpdir(), 's3-'))
const s3 = await startS3Server(s3Folder)
const withS3 = { skip: s3 ? false : 'there is no S3 server: install versitygw, or Go and run `npm test`' } as const
const buckets = join(s3Folder, 'buckets')
t.teardown(async () => {
  await s3?.process.stop()
  rmSync(s3Folder, { recursive: true, force: true })
})

const s3Options = ({ endpoint, accessKeyId, secretAccessKey }: S3Server, bucket: string) => ({
  s3: { endpoint, bucket, region: 'us-east-1', credentials: { accessKeyId, secretAccessKey } }
})

let made = 0
const anS3Store = async (t: Test) => {
  const bucket = `bucket-${made++}`
  mkdirSync(join(buckets, bucket))
  const store = await openStore(s3Options(s3!, bucket))
  t.teardown(store.close)
  return { store, bucket, folder: join(buckets, bucket) }
}

/** Bytes that come one chunk at a time; `after` is awaited when so many have come, then the rest. */
async function* slowly(bytes: number, after: () => Promise<void>): AsyncGenerator<Buffer> {
  const chunk = Buffer.alloc(65_536, 7)
  for (let sent = 0; sent < bytes; sent += chunk.length) yield chunk
  await after()
  yield Buffer.from('end')
}

t.test('a path says whose output it is and carries only safe characters', async t => {
  t.equal(path, 'tenants/default/tasks/task_1/abc/0-a.png')
  t.equal(taskFolder({ tenant: 'default', taskId: 'task_1' }), 'tenants/default/tasks/task_1')
  const names: [string, string][] = [
    ['../../etc/passwd', 'passwd'],
    ['C:\\temp\\x.png', 'x.png'],
    ['..', 'output'],
    ['', 'output'],
    ['.hidden', 'hidden'],
    ['a b\u0000ü\n.png', 'a_b_u_.png'],
    ['x.png [output]', 'x.png_output'],
    [`${'x'.repeat(300)}.safetensors`, `${'x'.repeat(120)}`],
    [`${'x'.repeat(300)}.png`, `${'x'.repeat(116)}.png`]
  ]
  for (const [given, safe] of names) t.equal(safeFilename(given), safe)
  for (const tenant of ['..', 'a/b', '', 'a..b', '.a']) {
    await t.rejects(async () => taskFolder({ tenant, taskId: 'x' }), RangeError)
  }
  await t.rejects(
    async () => outputPath({ tenant: 'a', taskId: 'b', token: 'c', index: -1, filename: 'd' }),
    RangeError
  )
})

const contract = (name: string, make: (t: Test) => Promise<{ store: ObjectStore }>): void => {
  t.test(`${name}: bytes and streams are stored whole and read back in parts`, async t => {
    const { store } = await make(t)
    const bytes = Buffer.from('0123456789')
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    t.same(await store.put(path, bytes, limits), { bytes: 10, sha256 })
    t.same(await store.put(path, Readable.from(['01234', Buffer.from('56789')]), limits), { bytes: 10, sha256 })
    const parts: [{ start: number; end?: number } | undefined, string][] = [
      [undefined, '0123456789'],
      [{ start: 2, end: 4 }, '234'],
      [{ start: 7 }, '789'],
      [{ start: 0, end: 99 }, '0123456789']
    ]
    for (const [range, expected] of parts) {
      const object = await store.open(path, range)
      t.match(object, { bytes: 10, start: range?.start ?? 0, end: Math.min(9, range?.end ?? 9) })
      t.equal(object && (await text(object.stream)), expected)
    }
    await t.rejects(store.open(path, { start: 10 }), { code: 'bad-range' })
    await t.rejects(store.open(path, { start: 4, end: 3 }), { code: 'bad-range' })
    await store.put('empty/file', Buffer.alloc(0), limits)
    const empty = await store.open('empty/file')
    t.match(empty, { bytes: 0, start: 0, end: -1 })
    t.equal(empty && (await text(empty.stream)), '')
    t.match(await store.stat(path), { path, bytes: 10 })
    t.ok(Math.abs((await store.stat(path))!.modifiedMs - Date.now()) < 60_000)
    for (const absent of ['never', 'tenants/default', `${path}/below`]) {
      t.equal(await store.stat(absent), undefined, absent)
      t.equal(await store.open(absent), undefined, absent)
    }
  })

  t.test(`${name}: what is too large or breaks off is not there`, async t => {
    const { store } = await make(t)
    await t.rejects(store.put(path, Buffer.alloc(11), { maxBytes: 10 }), { code: 'too-large' })
    const endless = new Readable({
      read() {
        this.push(Buffer.alloc(65_536))
      }
    })
    await t.rejects(store.put(path, endless, limits), { code: 'too-large' })
    t.ok(endless.destroyed)
    const fails = async (): Promise<void> => {
      throw new Error('ComfyUI went away')
    }
    for (const bytes of [4, 12 * mebibyte])
      await t.rejects(store.put(path, slowly(bytes, fails), { maxBytes: 100 * mebibyte }), {
        code: 'interrupted',
        cause: { message: 'ComfyUI went away' }
      })
    const silent = new Readable({ read() {} })
    const abort = new AbortController()
    const stalled = store.put(path, silent, { ...limits, signal: abort.signal })
    abort.abort(new Error('too slow'))
    await t.rejects(stalled, { code: 'interrupted' })
    t.ok(silent.destroyed)
    await t.rejects(store.put(path, Buffer.from('x'), { ...limits, signal: abort.signal }), { code: 'interrupted' })
    t.equal(await store.open(path), undefined)
    t.same(await store.list('tenants'), [])
  })

  t.test(`${name}: a large object keeps its bytes, and what was there before until it is whole`, async t => {
    const { store } = await make(t)
    await store.put(path, Buffer.from('before'), limits)
    let seen: string | undefined
    const look = async (): Promise<void> => {
      const object = await store.open(path)
      seen = object && (await text(object.stream))
    }
    const { bytes, sha256 } = await store.put(path, slowly(17 * mebibyte, look), { maxBytes: 100 * mebibyte })
    t.equal(seen, 'before')
    t.equal(bytes, 17 * mebibyte + 3)
    const object = await store.open(path)
    const hash = createHash('sha256')
    for await (const chunk of object!.stream) hash.update(chunk)
    t.equal(hash.digest('hex'), sha256)
    const end = await store.open(path, { start: bytes - 4 })
    t.equal(await text(end!.stream), '\u0007end')
  })

  t.test(`${name}: objects are listed in the order of their paths, in pages, and removed with all below`, async t => {
    const { store } = await make(t)
    const names = ['b/2', 'a/1', 'b/1', 'c', 'a.x', 'a-/3', 'bb/1']
    for (const name of names) await store.put(`tenants/x/${name}`, Buffer.from(name), limits)
    const sorted = names.map(name => `tenants/x/${name}`).sort()
    const paths = async (page = {}) => (await store.list('tenants/x', page)).map(object => object.path)
    t.same(await paths(), sorted)
    for (const limit of [1, 2, 3]) {
      const all: string[] = []
      for (let page = await paths({ limit }); page.length > 0; page = await paths({ limit, after: all.at(-1) })) {
        t.ok(page.length <= limit)
        all.push(...page)
      }
      t.same(all, sorted, `in pages of ${limit}`)
    }
    t.match(await store.list('tenants/x/b'), [{ bytes: 3 }, { bytes: 3 }])
    for (const gone of ['b', 'c', 'never']) await store.remove(`tenants/x/${gone}`)
    t.same(
      await paths(),
      sorted.filter(name => !/\/(b\/|c$)/.test(name))
    )
    t.same(await store.list('tenants/none'), [])
    t.equal(await store.open('tenants/x'), undefined)
  })

  t.test(`${name}: only plain paths are taken`, async t => {
    const { store } = await make(t)
    const unsafe = [
      '',
      '/etc/passwd',
      '../x',
      'a/../../x',
      'a/..',
      './a',
      'a//b',
      'a\0b',
      'a\\b',
      '.incoming/x',
      'a/',
      'C:x'
    ]
    for (const path of unsafe) {
      await t.rejects(store.put(path, Buffer.from('x'), limits), { code: 'unsafe-path' }, path)
      for (const work of [store.open, store.stat, store.remove, store.list])
        await t.rejects(async () => work(path), { code: 'unsafe-path' }, path)
    }
  })
}

contract('folder', aStore)
t.test('S3', withS3, async t => {
  t.pass(`versitygw at ${s3?.endpoint}`)
})
if (s3) contract('S3', anS3Store)

for (const kind of ['folder', 's3'] as const) {
  t.test(`500 MB into ${kind} grow the process by less than 50 MB`, kind === 's3' ? withS3 : {}, async t => {
    const options =
      kind === 's3'
        ? s3Options(s3!, (await anS3Store(t)).bucket)
        : { folder: join(aFolder(t), 'store'), minFreeBytes: 0 }
    const { NODE_OPTIONS: _, ...env } = process.env
    const program = fileURLToPath(new URL('./large-put.js', import.meta.url))
    const child = spawn(process.execPath, [program, JSON.stringify(options)], {
      env,
      stdio: ['ignore', 'pipe', 'inherit']
    })
    t.teardown(() => child.kill('SIGKILL'))
    const [said] = await Promise.all([text(child.stdout), exitOf(child)])
    const { bytes, grownBytes } = JSON.parse(said) as { bytes: number; grownBytes: number }
    t.equal(bytes, 500_000_000)
    t.ok(grownBytes < 50_000_000, `grew by ${Math.round(grownBytes / 1e6)} MB`)
    t.comment(said)
  })
}

const exitOf = async (child: ChildProcess): Promise<void> => void (await once(child, 'exit'))

t.test('S3 is entered only with the right keys and an existing bucket', withS3, async t => {
  const right = s3Options(s3!, s3!.bucket)
  const { credentials } = right.s3
  const wrong = { s3: { ...right.s3, credentials: { ...credentials, secretAccessKey: 'wrong' } } }
  await t.rejects(openStore(wrong), { code: 'not-writable', message: /bucket outputs at http.*S3 answered 403/ })
  await t.rejects(openStore(s3Options(s3!, 'no-such-bucket')), { code: 'not-writable', message: /answered 404/ })
  const nobody = { s3: { ...right.s3, endpoint: `http://127.0.0.1:${await freePort()}` } }
  await t.rejects(openStore(nobody), { code: 'unavailable', message: /does not answer/ })
})

t.test('an upload to S3 that ends early leaves no parts behind', withS3, async t => {
  const { store, bucket } = await anS3Store(t)
  const { endpoint, region, credentials } = s3Options(s3!, bucket).s3
  const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true })
  t.teardown(() => client.destroy())
  const uploads = async () => (await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))).Uploads ?? []
  const abort = new AbortController()
  const begun = async (): Promise<void> => {
    t.ok(await until(async () => (await uploads()).length > 0 || undefined, 20_000), 'parts are there')
    const other = await openStore(s3Options(s3!, bucket))
    await other.close()
    t.equal((await uploads()).length, 1, 'another service that starts leaves them alone')
  }
  const aborted = async (): Promise<void> => {
    await begun()
    abort.abort()
    await new Promise(() => {})
  }
  const failed = async (): Promise<void> => {
    await begun()
    throw new Error('gone')
  }
  const { signal } = abort
  const maxBytes = 100 * mebibyte
  const ends: [() => Promise<unknown>, string][] = [
    [() => store.put('tenants/a', slowly(11 * mebibyte, failed), { maxBytes }), 'interrupted'],
    [() => store.put('tenants/b', slowly(100 * mebibyte, failed), { maxBytes: 11 * mebibyte }), 'too-large'],
    [() => store.put('tenants/c', slowly(11 * mebibyte, aborted), { maxBytes, signal }), 'interrupted']
  ]
  for (const [put, code] of ends) {
    await t.rejects(put(), { code })
    t.ok(await until(async () => (await uploads()).length === 0 || undefined, 20_000), 'no upload is left')
  }
  t.same(await store.list('tenants'), [])
})

t.test('a folder of more than a page is removed from S3', withS3, async t => {
  const { store, folder } = await anS3Store(t)
  mkdirSync(join(folder, 'tenants', 'x'), { recursive: true })
  for (let i = 0; i < 1_005; i++) writeFileSync(join(folder, 'tenants', 'x', String(i)), '')
  t.equal((await store.list('tenants')).length, 1_000)
  t.equal((await store.list('tenants', { limit: 2_000 })).length, 1_005)
  await store.remove('tenants/x')
  t.same(await store.list('tenants'), [])
})

t.test('a signed address of S3 gives the bytes to anybody, for reading only', withS3, async t => {
  const { store } = await anS3Store(t)
  await store.put(path, Buffer.from('0123456789'), limits)
  const use = { contentType: 'image/png', contentDisposition: 'inline; filename="a.png"', expiresSeconds: 60 }
  const url = await store.signedUrl!(path, use)
  const whole = await fetch(url)
  t.equal(await whole.text(), '0123456789')
  t.equal(whole.headers.get('content-type'), 'image/png')
  t.equal(whole.headers.get('content-disposition'), 'inline; filename="a.png"')
  const part = await fetch(url, { headers: { range: 'bytes=2-4' } })
  t.equal(part.status, 206)
  t.equal(await part.text(), '234')
  t.equal((await fetch(url.replace('a.png', 'b.png'))).status, 403)
  t.equal((await fetch(url, { method: 'PUT', body: 'x' })).status, 403)
  t.match(new URL(url).searchParams.get('X-Amz-Expires'), '60')
  await t.rejects(store.signedUrl!('../x', use), { code: 'unsafe-path' })
})

t.test('an S3 that is away is an error that passes', withS3, async t => {
  const { bucket } = await anS3Store(t)
  const folder = aFolder(t)
  mkdirSync(join(folder, 'buckets', bucket), { recursive: true })
  const server = await startS3Server(folder)
  const store = await openStore(s3Options(server!, bucket))
  t.teardown(store.close)
  await store.put(path, Buffer.from('x'), limits)
  await server!.process.stop()
  const works: (() => Promise<unknown>)[] = [
    () => store.put('other', Buffer.from('x'), limits),
    () => store.open(path),
    () => store.stat(path),
    () => store.remove(path),
    () => store.list('tenants')
  ]
  for (const work of works) await t.rejects(work(), { code: 'unavailable' })
  const again = await startS3Server(folder, Number(new URL(server!.endpoint).port))
  t.teardown(() => again?.process.stop())
  const object = await store.open(path)
  t.equal(await text(object!.stream), 'x')
})

t.test('no link leads out of a folder', async t => {
  const { store, folder } = await aStore(t)
  const outside = aFolder(t)
  writeFileSync(join(outside, 'secret'), 'secret')
  symlinkSync(outside, join(folder, 'linked'))
  symlinkSync(join(outside, 'secret'), join(folder, 'secret'))
  for (const path of ['linked/x']) {
    await t.rejects(store.put(path, Buffer.from('x'), limits), { code: 'unsafe-path' }, path)
    await t.rejects(store.open(path), { code: 'unsafe-path' }, path)
    await t.rejects(store.stat(path), { code: 'unsafe-path' }, path)
    await t.rejects(store.remove(path), { code: 'unsafe-path' }, path)
  }
  t.equal(await store.open('secret'), undefined)
  await t.rejects(store.put('linked/deep/er/x', Buffer.from('x'), limits), { code: 'unsafe-path' })
  await t.rejects(store.list('linked/x'), { code: 'unsafe-path' })
  await store.put('secret', Buffer.from('mine'), limits)
  t.same(readdirSync(outside), ['secret'])
})

t.test('a folder that cannot be used is an error at the start and a typed one later', async t => {
  const folder = aFolder(t)
  writeFileSync(join(folder, 'file'), '')
  await t.rejects(createFolderStore({ folder: join(folder, 'file', 'x') }), {
    code: 'not-writable',
    message: /ENOTDIR/
  })
  await t.rejects(createFolderStore({ folder, minFreeBytes: Number.MAX_SAFE_INTEGER }), { code: 'no-space' })
  const store = await createFolderStore({ folder: join(folder, 'store'), minFreeBytes: 0 })
  rmSync(join(folder, 'store'), { recursive: true })
  await t.rejects(store.put(path, Buffer.from('x'), limits), { code: 'not-writable' })
  t.equal(await store.open(path), undefined)
})

t.test('what a crash left half written is removed after a day', async t => {
  const folder = aFolder(t)
  mkdirSync(join(folder, '.incoming'))
  for (const name of ['old', 'new']) writeFileSync(join(folder, '.incoming', name), 'half')
  const longAgo = Date.now() / 1000 - 100_000
  utimesSync(join(folder, '.incoming', 'old'), longAgo, longAgo)
  await createFolderStore({ folder, minFreeBytes: 0 })
  t.same(readdirSync(join(folder, '.incoming')), ['new'])
})
