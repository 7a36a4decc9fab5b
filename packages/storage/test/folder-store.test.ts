import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { createFolderStore } from '../src/folder-store.ts'
import { outputPath, safeFilename, taskFolder } from '../src/output-path.ts'

const limits = { maxBytes: 1_000_000 }
const path = outputPath({ tenant: 'default', taskId: 'task_1', token: 'abc', index: 0, filename: 'a.png' })

const aFolder = (t: Test): string => {
  const folder = mkdtempSync(join(tmpdir(), 'outputs-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const aStore = async (t: Test) => {
  const folder = join(aFolder(t), 'not', 'there', 'yet')
  return { folder, store: await createFolderStore({ folder, minFreeBytes: 0 }) }
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

t.test('bytes and streams are stored whole and read back in parts', async t => {
  const { store, folder } = await aStore(t)
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
    const output = await store.open(path, range)
    t.equal(output?.bytes, 10)
    t.equal(output && (await text(output.stream)), expected)
  }
  await t.rejects(store.open(path, { start: 10 }), { code: 'bad-range' })
  await t.rejects(store.open(path, { start: 4, end: 3 }), { code: 'bad-range' })
  await store.put('empty/file', Buffer.alloc(0), limits)
  const empty = await store.open('empty/file')
  t.equal(empty && (await text(empty.stream)), '')
  t.same(readdirSync(join(folder, '.incoming')), [])
})

t.test('an output that is too large or breaks off leaves nothing behind', async t => {
  const { store, folder } = await aStore(t)
  await t.rejects(store.put(path, Buffer.alloc(11), { maxBytes: 10 }), { code: 'too-large' })
  const endless = new Readable({
    read() {
      this.push(Buffer.alloc(65_536))
    }
  })
  await t.rejects(store.put(path, endless, limits), { code: 'too-large' })
  t.ok(endless.destroyed)
  const broken = Readable.from(
    (async function* () {
      yield Buffer.from('half')
      throw new Error('ComfyUI went away')
    })()
  )
  await t.rejects(store.put(path, broken, limits), { code: 'interrupted', cause: { message: 'ComfyUI went away' } })
  const silent = new Readable({ read() {} })
  const abort = new AbortController()
  const stalled = store.put(path, silent, { ...limits, signal: abort.signal })
  abort.abort(new Error('too slow'))
  await t.rejects(stalled, { code: 'interrupted' })
  t.equal(await store.open(path), undefined)
  t.same(readdirSync(join(folder, '.incoming')), [])
})

t.test('files are listed in order, bounded, and removed with their folder', async t => {
  const { store } = await aStore(t)
  for (const name of ['b/2', 'a/1', 'b/1', 'c']) await store.put(`tenants/x/${name}`, Buffer.from(name), limits)
  const paths = async (limit?: number) =>
    (await store.list('tenants/x', limit === undefined ? {} : { limit })).map(file => file.path)
  t.same(await paths(), ['tenants/x/a/1', 'tenants/x/b/1', 'tenants/x/b/2', 'tenants/x/c'])
  t.same(await paths(2), ['tenants/x/a/1', 'tenants/x/b/1'])
  t.match(await store.list('tenants/x/b'), [{ bytes: 3 }, { bytes: 3 }])
  await store.remove('tenants/x/b')
  await store.remove('tenants/x/c')
  await store.remove('tenants/x/never')
  t.same(await paths(), ['tenants/x/a/1'])
  t.same(await store.list('tenants/none'), [])
  t.equal(await store.open('tenants/x'), undefined)
})

t.test('no path leads out of the store', async t => {
  const { store, folder } = await aStore(t)
  const outside = aFolder(t)
  writeFileSync(join(outside, 'secret'), 'secret')
  symlinkSync(outside, join(folder, 'linked'))
  symlinkSync(join(outside, 'secret'), join(folder, 'secret'))
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
  for (const path of [...unsafe, 'linked/x']) {
    await t.rejects(store.put(path, Buffer.from('x'), limits), { code: 'unsafe-path' }, path)
    await t.rejects(store.open(path), { code: 'unsafe-path' }, path)
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
