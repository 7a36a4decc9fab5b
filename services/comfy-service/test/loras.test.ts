import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { createSimulator } from '@comfy-balancer/comfyui-simulator/simulator'
import type { Problem } from '@comfy-balancer/contract/problem'
import type { Log } from '@comfy-balancer/service-kit/log'
import { createLogger } from '@comfy-balancer/service-kit/logger'
import { redisOptions } from '@comfy-balancer/service-kit/redis-config'
import { createFolderStore } from '@comfy-balancer/storage/folder-store'
import { connect } from '@comfy-balancer/task-store/connection'
import { openScratchLedger } from '@comfy-balancer/task-store/scratch-ledger'
import t, { type Test } from 'tap'
import { createApp } from '../src/app.ts'
import { preparingFailed } from '../src/attempt/outcome.ts'
import { readComfyServiceConfig } from '../src/config.ts'
import { createLoraCache } from '../src/loras/lora-cache.ts'
import { openLoraFolder } from '../src/loras/lora-folder.ts'
import { createFindLora, type LoraOrigin } from '../src/loras/lora-origin.ts'
import { holdOn, prepareLoras } from '../src/loras/prepare-loras.ts'
import { createCaller } from './caller.ts'
import { until } from './wait.ts'
import { painting } from './workflows.ts'

const log: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, fatal: () => {} }
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const never = new AbortController().signal
const because = (reason: string, message = /./) => ({ code: 'input-unavailable', reason, message })

/** A file of safetensors of so many bytes, different by its fill. */
const aLora = (fill: number, bytes = 1_000): Buffer => {
  const file = Buffer.alloc(bytes, fill)
  file.writeBigUInt64LE(2n)
  file.write('{}', 8)
  return file
}

type Files = Record<string, Buffer>

/** A cache over a models folder, and a store of files by their source; `opened` are the downloads that began. */
const aCache = async (t: Test, files: Files, { budgetBytes = 1e6, holder = 'a', modelsDir = t.testdir({}) } = {}) => {
  const opened: string[] = []
  let release = (): void => {}
  const gate = { isShut: false, opens: new Promise<void>(resolve => (release = resolve)) }
  const find = async (source: string): Promise<LoraOrigin> => {
    const bytes = files[source]!
    return {
      identity: sha256(Buffer.from(source)).slice(0, 32),
      bytes: bytes.length,
      sha256: undefined,
      open: async () => {
        opened.push(source)
        if (gate.isShut) await gate.opens
        return Readable.from([bytes.subarray(0, 5), bytes.subarray(5)])
      }
    }
  }
  const folder = await openLoraFolder({ modelsDir, holder })
  const cache = createLoraCache({ budgetBytes, maxBytes: 1e6 }, { folder, find, log })
  t.teardown(() => cache.close())
  const place = join(modelsDir, 'loras', 'comfy-balancer')
  const take = (source: string, more: { sha256?: string } = {}, signal = never) =>
    cache.take({ source, tenant: 'default', ...more }, signal)
  const kept = () => readdirSync(place).filter(name => !name.startsWith('.'))
  return { cache, folder, place, modelsDir, opened, gate, release: () => release(), take, kept }
}

t.test('a LoRA is fetched once, however many wait for it, and shows only when it is whole', async t => {
  const bytes = aLora(1)
  const { take, opened, gate, release, kept, place, cache } = await aCache(t, { one: bytes })
  gate.isShut = true
  const impatient = new AbortController()
  const gaveUp = take('one', {}, impatient.signal)
  const waiting = [take('one'), take('one', { sha256: sha256(bytes) })]
  await until('the download begins', async () => opened.length > 0)
  impatient.abort(new Error('cancelled'))
  await t.rejects(gaveUp, { message: 'cancelled' })
  t.same(kept(), [], 'nothing yet')
  release()
  const [file, same] = await Promise.all(waiting)
  t.equal(file, same)
  t.match(file, new RegExp(`^[0-9a-f]{32}-${sha256(bytes).slice(0, 32)}\\.safetensors$`))
  t.same([opened, kept(), statSync(join(place, file!)).size], [['one'], [file], bytes.length])
  t.equal(await take('one'), file, 'nor again later')
  t.equal(opened.length, 1)
  t.equal(cache.nameOf(file!), join('comfy-balancer', file!))
})

t.test('what is not the LoRA that was meant is not kept', async t => {
  const files = {
    good: aLora(1),
    html: Buffer.from('<html>not found'),
    short: Buffer.from('ab'),
    huge: aLora(2, 2_000)
  }
  const { take, kept, place } = await aCache(t, files, { budgetBytes: 1_500 })
  const refused: [string, string | undefined, ReturnType<typeof because>][] = [
    ['html', undefined, because('flawed')],
    ['short', undefined, because('flawed')],
    ['huge', undefined, because('too-large')],
    ['good', 'f'.repeat(64), because('flawed', /another sha256/)]
  ]
  for (const [source, digest, error] of refused) {
    await t.rejects(take(source, digest === undefined ? {} : { sha256: digest }), error, source)
  }
  t.same(
    kept().map(name => statSync(join(place, name)).size),
    [1_000],
    'only what is whole'
  )
  t.same(readdirSync(join(place, '.incoming')), ['probe'])
  const broken = { ...(await aCache(t, {})) }
  const origin = {
    identity: 'a'.repeat(32),
    bytes: 100,
    sha256: undefined,
    open: async () => Readable.from([aLora(1, 50)])
  }
  const cut = createLoraCache(
    { budgetBytes: 1e6, maxBytes: 1e6 },
    { folder: broken.folder, find: async () => origin, log }
  )
  const error = await cut.take({ source: 'x', tenant: 'default' }, never).catch((cause: unknown) => cause)
  t.match(preparingFailed(error), { kind: 'retry', class: 'node' }, 'bytes that break off: another try')
  t.same(broken.kept(), [])
})

t.test(
  'within the budget the LoRA used longest ago goes, never one in use, and never a file that is not ours',
  async t => {
    const files: Files = Object.fromEntries(['a', 'b', 'c', 'd', 'e'].map((name, at) => [name, aLora(at)]))
    const { take, cache, kept, modelsDir, place } = await aCache(t, files, { budgetBytes: 3_000 })
    writeFileSync(join(modelsDir, 'loras', 'own.safetensors'), aLora(9))
    writeFileSync(join(place, 'own.safetensors'), aLora(9))
    const [a, b, c] = [await take('a'), await take('b'), await take('c')]
    await t.rejects(take('d'), because('unreachable', /no room/), 'all three are in use')
    for (const file of [a, b, c]) await cache.letGo(file)
    const [old, older] = [new Date(Date.now() - 20_000), new Date(Date.now() - 30_000)]
    utimesSync(join(place, b), older, older)
    utimesSync(join(place, a), old, old)
    const d = await take('d')
    t.same(kept().sort(), [a, c, d, 'own.safetensors'].sort(), 'b was used longest ago')
    t.equal(await take('a'), a)
    const e = await take('e')
    t.same(kept().sort(), [a, d, e, 'own.safetensors'].sort(), 'c went: a is in use again')
    t.ok(existsSync(join(modelsDir, 'loras', 'own.safetensors')))
  }
)

t.test('what another service that shares the folder holds is kept, until it is gone', async t => {
  const files = { a: aLora(1), b: aLora(2) }
  const one = await aCache(t, files, { budgetBytes: 1_500, holder: 'gpu-0:8090' })
  const two = await aCache(t, files, { budgetBytes: 1_500, holder: 'gpu-1', modelsDir: one.modelsDir })
  const a = await one.take('a')
  await t.rejects(two.take('b'), because('unreachable'))
  await two.take('a')
  t.equal(two.opened.length, 0, 'what the other fetched is there for both')
  await two.cache.letGo(a)
  const longAgo = new Date(Date.now() - 600_000)
  for (const hold of readdirSync(join(one.place, '.held'))) utimesSync(join(one.place, '.held', hold), longAgo, longAgo)
  const b = await two.take('b')
  t.same(two.kept(), [b], 'a hold that nobody renews is none')
})

t.test('an attempt that is adopted goes on holding what its former life held', async t => {
  const files = { a: aLora(1), b: aLora(2) }
  const former = await aCache(t, files, { budgetBytes: 1_500, holder: 'gpu-0:8090' })
  const other = await aCache(t, files, { budgetBytes: 1_500, holder: 'gpu-1', modelsDir: former.modelsDir })
  const a = await former.take('a')
  const held = join(former.place, '.held')
  const longAgo = new Date(Date.now() - 600_000)
  for (const hold of readdirSync(held)) utimesSync(join(held, hold), longAgo, longAgo)
  const later = await aCache(t, files, { holder: 'gpu-0:8090', modelsDir: former.modelsDir })
  const letGo = await holdOn({ loras: later.cache, log })
  await until('the hold is fresh', async () =>
    readdirSync(held).some(hold => statSync(join(held, hold)).mtimeMs > +longAgo)
  )
  await t.rejects(other.take('b'), because('unreachable', /no room/))
  await letGo()
  t.same([readdirSync(held), later.kept()], [[], [a]])
  const b = await other.take('b')
  t.same(other.kept(), [b])
  await (await holdOn({ loras: undefined, log }))()
})

t.test('a source leads only to where LoRAs are, and to what its tenant may read', async t => {
  const asked: string[] = []
  const reader = (name: string) => ({
    stat: async (path: string) => {
      asked.push(`${name} ${path}`)
      return path.endsWith('there.safetensors') ? { path, bytes: 1, modifiedMs: 1 } : undefined
    },
    open: async () => undefined
  })
  const record = { id: 'i', sha256: 'a'.repeat(64), path: 'p', bytes: 5, mediaType: 'x', expiresMs: 0 }
  const find = createFindLora({
    uploads: {
      find: async (tenant, id) => (tenant === 'pmc' && id === `input_${'a'.repeat(64)}` ? record : undefined)
    },
    store: reader('store'),
    bucketOf: bucket => reader(bucket),
    s3Prefixes: ['s3://models/{tenant}/', 's3://shared/loras/']
  })
  for (const source of [
    'store:x/there.safetensors',
    's3://models/pmc/there.safetensors',
    's3://shared/loras/there.safetensors'
  ]) {
    t.match(await find(source, 'pmc'), { identity: /^[0-9a-f]{32}$/, bytes: 1 }, source)
  }
  t.same(asked, ['store loras/x/there.safetensors', 'models pmc/there.safetensors', 'shared loras/there.safetensors'])
  t.match(await find(`input_${'a'.repeat(64)}`, 'pmc'), { bytes: 5, sha256: record.sha256 })
  const reasons: Record<string, string> = {
    's3://models/other/there.safetensors': 'blocked',
    's3://shared/there.safetensors': 'blocked',
    's3://models/pmc/../other/there.safetensors': 'blocked',
    's3://models/pmc/%2e%2e/there.safetensors': 'blocked',
    'store:../tenants/other/there.safetensors': 'blocked',
    'store:.hidden/there.safetensors': 'blocked',
    'file:///etc/passwd': 'blocked',
    'https://a.example/there.safetensors': 'blocked',
    's3://shared/loras/gone.safetensors': 'missing',
    [`input_${'b'.repeat(64)}`]: 'missing'
  }
  const before = asked.length
  for (const [source, reason] of Object.entries(reasons)) await t.rejects(find(source, 'pmc'), because(reason), source)
  await t.rejects(find(`input_${'a'.repeat(64)}`, 'other'), because('missing'), 'of another tenant')
  t.equal(asked.length, before + 1, 'and nothing else was even looked for')
  const without = createFindLora({
    uploads: { find: async () => undefined },
    store: reader('store'),
    s3Prefixes: ['s3://m/']
  })
  await t.rejects(without('s3://models/x.safetensors', 'pmc'), because('blocked'))
  const nowhere = {
    workflow: { graphNodes: new Map() },
    loras: [{ name: 'a', source: 'b' }],
    tenant: 'pmc',
    signal: never
  }
  await t.rejects(
    prepareLoras(nowhere, { cache: undefined, log }),
    because('unreachable'),
    'a node that cannot take any'
  )
})

/** A simulated ComfyUI that looks into a models folder, and the service beside it. */
const openService = async (t: Test, env: Record<string, string> = {}) => {
  const folder = t.testdir({ models: {}, output: {} })
  const modelsDir = join(folder, 'models')
  const scratch = openScratchLedger()
  const simulator = createSimulator({
    hasPreviews: false,
    timeScale: 0.01,
    outputDir: join(folder, 'output'),
    modelsDir
  })
  await simulator.listen()
  const config = readComfyServiceConfig({
    REDIS_URL: process.env.REDIS_URL,
    REDIS_KEY_PREFIX: scratch.ledger.prefix,
    COMFYUI_URL: simulator.url,
    HEARTBEAT_MS: '100',
    ...env,
    ...(env.COMFYUI_MODELS_DIR === undefined ? { COMFYUI_MODELS_DIR: modelsDir } : {})
  })
  const { logger } = createLogger({ service: 'comfy-service', instance: 'gpu-test', level: 'silent' })
  const connection = await connect(redisOptions(config), logger)
  const store = await createFolderStore({ folder: join(folder, 'store') })
  const app = await createApp(config, { connection, store, logger, node: 'gpu-test' })
  const url = await app.server.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(async () => {
    await simulator.close()
    for (const step of app.steps) await step.run()
    await scratch.close()
  })
  await app.begin(url)
  const caller = createCaller(url)
  await until('the node is ready', async () => (await caller.node()).state === 'ready')
  return {
    ...caller,
    modelsDir,
    storeDir: join(folder, 'store'),
    loras: () => readdirSync(join(modelsDir, 'loras', 'comfy-balancer')).filter(name => !name.startsWith('.')),
    holds: () => readdirSync(join(modelsDir, 'loras', 'comfy-balancer', '.held')),
    async upload(bytes: Buffer): Promise<string> {
      const body = new FormData()
      body.append('file', new Blob([bytes]), 'x.safetensors')
      const answer = await fetch(`${url}/api/v1/inputs`, { method: 'POST', body })
      return ((await answer.json()) as { id: string }).id
    }
  }
}

/** A painting by a model with a LoRA of this name on top. */
const withLora = (lora: string, seed = '1'): object => {
  const graph = JSON.parse(painting('sd_xl_base_1.0.safetensors', seed))
  graph['20'] = {
    class_type: 'LoraLoaderModelOnly',
    inputs: { model: ['4', 0], lora_name: lora, strength_model: 1 }
  }
  graph['3'].inputs.model = ['20', 0]
  return graph
}

t.test('a LoRA comes along: it is in the models folder for its run, and no other tenant’s to see', async t => {
  const { generate, outcome, upload, loras, holds, node, post, storeDir } = await openService(t)
  t.match((await node()).labels, { 'comfy-balancer/loras': 'on-demand' })
  const id = await upload(aLora(1))
  mkdirSync(join(storeDir, 'loras/brands'), { recursive: true })
  writeFileSync(join(storeDir, 'loras/brands/brand.safetensors'), aLora(2))
  const name = 'brand.safetensors'
  const run = async (source: string, seed: string) =>
    outcome(await generate(withLora(name, seed), { loras: [{ name, source }] }))
  t.match(await run(id, '1'), { state: 'succeeded', attempt: 1 })
  t.equal(loras().length, 1)
  t.match(await run('store:brands/brand.safetensors', '2'), { state: 'succeeded' })
  t.equal(loras().length, 2, 'the same name, another LoRA')
  t.match(await run(id, '3'), { state: 'succeeded' })
  t.same([loras().length, holds()], [2, []], 'nothing is held when nothing runs')
  t.notOk((await node()).models.some(model => /comfy-balancer|brand/.test(model)))
  const stolen = await post(JSON.stringify({ prompt: withLora(`comfy-balancer/${loras()[0]}`) }))
  t.match(await stolen.json(), { status: 422, code: 'no-capable-node' }, 'by its name on the node nobody gets it')
  t.match(await run('store:brands/gone.safetensors', '4'), {
    state: 'failed',
    attempt: 1,
    error: {
      code: 'input-unavailable',
      detail: 'the LoRA brand.safetensors cannot be used: there is no store:brands/gone.safetensors'
    }
  })
})

t.test(
  'a node without a models folder is given no such task, and says so; one that cannot be written ends the start',
  async t => {
    const { post, upload, node } = await openService(t, { COMFYUI_MODELS_DIR: '' })
    t.notMatch((await node()).labels, { 'comfy-balancer/loras': 'on-demand' })
    const loras = [{ name: 'a.safetensors', source: await upload(aLora(1)) }]
    const answer = (await (await post(JSON.stringify({ prompt: withLora('a.safetensors'), loras }))).json()) as Problem
    t.match(answer, { status: 422, code: 'no-capable-node', errors: [{ pointer: '/loras', code: 'no-models-folder' }] })
    await t.rejects(openLoraFolder({ modelsDir: join(t.testdirName, 'absent'), holder: 'x' }), {
      message: /absent cannot be used/
    })
  }
)
