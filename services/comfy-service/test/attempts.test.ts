import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSimulator, type SimulatorOptions } from '@comfy-balancer/comfyui-simulator/simulator'
import { createLogger } from '@comfy-balancer/service-kit/logger'
import { redisOptions } from '@comfy-balancer/service-kit/redis-config'
import { createFolderStore } from '@comfy-balancer/storage/folder-store'
import { type ObjectStore, StorageError } from '@comfy-balancer/storage/object-store'
import { taskFolder } from '@comfy-balancer/storage/output-path'
import { connect } from '@comfy-balancer/task-store/connection'
import { createKeys } from '@comfy-balancer/task-store/keys'
import { createLedger } from '@comfy-balancer/task-store/ledger'
import { openScratchLedger } from '@comfy-balancer/task-store/scratch-ledger'
import t, { type Test } from 'tap'
import { createApp } from '../src/app.ts'
import { openComfyUiFolders } from '../src/comfyui-folders.ts'
import { readComfyServiceConfig } from '../src/config.ts'
import { createCaller } from './caller.ts'
import { until } from './wait.ts'
import { openWireTap } from './wire-tap.ts'
import { painting, picture, twoPictures } from './workflows.ts'

t.jobs = 4

const node = 'gpu-test'
const pngSignature = '89504e470d0a1a0a'
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** A simulated ComfyUI and the service in this process, alone: it dispatches for itself. */
const open = async (t: Test, { simulator: more = {}, env = {}, isTapped = false, heartbeatMs, wrap }: Options = {}) => {
  const folder = t.testdir({})
  const scratch = openScratchLedger()
  const comfyUiDir = join(folder, 'comfyui')
  const outputDir = join(comfyUiDir, 'output')
  const options = { timeScale: 1, hasPreviews: false, outputDir, inputDir: join(comfyUiDir, 'input'), ...more }
  const simulator = createSimulator(options)
  await simulator.listen()
  const tap = isTapped ? await openWireTap(simulator.url) : undefined
  const checked = readComfyServiceConfig({
    REDIS_URL: process.env.REDIS_URL,
    REDIS_KEY_PREFIX: scratch.ledger.prefix,
    COMFYUI_URL: tap?.url ?? simulator.url,
    HEARTBEAT_MS: '100',
    NODE_ALIVE_MS: '3000',
    COMFYUI_SILENT_SECONDS: '5',
    COMFYUI_CANCEL_SECONDS: '1',
    ...env,
    ...(env.COMFYUI_DIR === undefined ? {} : { COMFYUI_DIR: comfyUiDir })
  })
  const config = heartbeatMs === undefined ? checked : Object.create(checked, { HEARTBEAT_MS: { value: heartbeatMs } })
  const { logger } = createLogger({
    service: 'comfy-service',
    instance: node,
    level: (process.env.TEST_LOG_LEVEL as 'silent' | undefined) ?? 'silent'
  })
  const connection = await connect(redisOptions(config), logger)
  const ledger = createLedger(connection.commands, config.REDIS_KEY_PREFIX)
  const folderStore = await createFolderStore({ folder: join(folder, 'store') })
  const store = { ...folderStore, ...wrap?.(folderStore) }
  const app = await createApp(config, { connection, store, logger, node })
  const url = await app.server.listen({ host: '127.0.0.1', port: 0 })
  let present = simulator
  t.teardown(async () => {
    await Promise.all([simulator.close(), present.close()])
    for (const step of app.steps) await step.run()
    await tap?.close()
    await scratch.close()
  })
  await app.begin(url)
  const caller = createCaller(url)
  await until('the node is ready', async () => (await caller.node()).state === 'ready')
  return {
    ...caller,
    simulator,
    ledger,
    redis: connection.commands,
    tap,
    store: folderStore,
    comfyUiDir,
    comfyUiFiles: () => readdirSync(options.outputDir, { recursive: true, encoding: 'utf8' }).filter(isPng),
    storedFiles: () => readdirSync(join(folder, 'store'), { recursive: true, encoding: 'utf8' }).filter(isPng),
    isIdle: () => {
      const { running, pending } = present.state().queue
      return running.length + pending.length === 0
    },
    /** ComfyUI's process comes back at the same address after it was gone. */
    comeBack: async () => {
      present = createSimulator({ ...options, port: simulator.port })
      await present.listen()
      return present
    },
    reasons: async (id: string) => (await ledger.tasks.journal(id, 0)).flatMap(({ reason }) => reason ?? []),
    slot: async () => (await ledger.nodes.find(node))?.slot
  }
}

type Options = {
  simulator?: SimulatorOptions
  env?: Record<string, string>
  isTapped?: boolean
  /** Slower than a configuration may say. */
  heartbeatMs?: number
  /** What the store does otherwise than it should. */
  wrap?: (store: ObjectStore) => Partial<ObjectStore>
}

const isPng = (name: string): boolean => name.endsWith('.png')

/** A prompt that somebody else posts to ComfyUI. */
const postForeign = async (url: string, seconds: number): Promise<string> => {
  const body = JSON.stringify({ prompt: picture(99, seconds), client_id: 'somebody' })
  const answer = await fetch(`${url}/prompt`, { method: 'POST', body })
  return ((await answer.json()) as { prompt_id: string }).prompt_id
}

const endOfForeign = async (url: string, id: string): Promise<string | undefined> => {
  const history = (await (await fetch(`${url}/history/${id}`)).json()) as Record<
    string,
    { status: { status_str: string } }
  >
  return history[id]?.status.status_str
}

/** The picture's pixels as they are packed in the file. */
const pixelsOf = (png: Buffer): string => {
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT') return sha256(png.subarray(at, at + png.readUInt32BE(at)))
  }
  throw new Error('no pixels')
}

t.test('a task gives real pictures, the first of which shows before the end', async t => {
  const { generate, when, outcome, bytes, node, slot, reasons } = await open(t)
  const id = await generate(twoPictures(1, 1))
  const early = await when(id, 'shows an output', task => task.outputs.length > 0)
  t.match(early, { state: 'running', node: 'gpu-test', attempt: 1, outputs: [{ graphNode: '8', kind: 'image' }] })
  t.match((await node()).attempt, { task: id }, 'the node says what it runs')
  await when(id, 'tells how far it is', task => (task.progress?.percent ?? 0) > 0)

  const done = await outcome(id)
  t.match(done, { state: 'succeeded', attempt: 1, error: null })
  t.same(done.outputs.map(output => output.graphNode).sort(), ['8', '9'])
  for (const output of done.outputs) {
    const png = await bytes(output.url)
    t.equal(png.toString('hex', 0, 8), pngSignature)
    t.same([png.readUInt32BE(16), png.readUInt32BE(20)], [output.graphNode === '9' ? 64 : 32, 48])
    t.match(output, { mediaType: 'image/png', bytes: png.length, sha256: sha256(png), durable: true })
  }
  t.ok((done.timings.executionSeconds ?? 0) >= 1, 'and it tells how long it took')
  t.equal(await slot(), undefined, 'the slot is empty when the task has ended')
  t.same(await reasons(id), [], 'nothing went wrong on the way')
})

t.test("ComfyUI's own log of a run is kept with the task", async t => {
  const { generate, outcome, get } = await open(t)
  const id = await generate(picture(4_242))
  await outcome(id)
  const answer = await get(`/api/v1/tasks/${id}/logs`)
  t.match(answer.headers.get('content-type'), /^text\/plain/)
  t.match(await answer.text(), /got prompt|Prompt executed/)
  t.equal((await get(`/api/v1/tasks/task_${'0'.repeat(32)}/logs`)).status, 404)
})

t.test('two equal tasks give two files although all but the saving is cached', async t => {
  const { generate, outcome, bytes, comfyUiFiles } = await open(t)
  const noise = { class_type: 'StubImage', inputs: { content: 'NOISE', width: 32, height: 32, batch_size: 1 } }
  const prompt = {
    '1': noise,
    '9': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: '../../evil/x' } }
  }
  const pictures: Buffer[] = []
  for (let run = 0; run < 2; run++) {
    const { outputs } = await outcome(await generate(prompt))
    t.equal(outputs.length, 1)
    pictures.push(await bytes(outputs[0]!.url))
  }
  const files = comfyUiFiles()
  t.equal(files.length, 2, 'each run wrote its own')
  t.ok(files.every(file => file.startsWith('comfy-balancer/')))
  t.equal(pixelsOf(pictures[0]!), pixelsOf(pictures[1]!), 'the noise was drawn once')
})

t.test('previews, pictures over the WebSocket and texts are outputs too', async t => {
  const { generate, outcome, bytes } = await open(t)
  const prompt = {
    '1': { class_type: 'EmptyImage', inputs: { width: 16, height: 16, batch_size: 2, color: 5 } },
    '2': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
    '3': { class_type: 'SaveImageWebsocket', inputs: { images: ['1', 0] } },
    '4': { class_type: 'PreviewAny', inputs: { source: 'said' } }
  }
  for (let run = 0; run < 2; run++) {
    const { state, outputs } = await outcome(await generate(prompt))
    t.equal(state, 'succeeded')
    t.same(outputs.map(output => output.graphNode).sort(), ['2', '2', '3', '3', '4'])
    for (const output of outputs.filter(one => one.kind === 'image')) {
      t.equal((await bytes(output.url)).toString('hex', 0, 8), pngSignature)
    }
    const text = outputs.find(one => one.kind === 'text')!
    t.equal((await bytes(text.url)).toString(), 'said')
  }
})

t.test('what ComfyUI refuses or fails is told in its own words, and tried once', async t => {
  const { generate, outcome, ...comfy } = await open(t)
  const broken = { ...picture(2), '2': { class_type: 'TestSyncError', inputs: { value: ['1', 0] } } }
  const failed = await outcome(await generate(broken))
  t.match(failed, {
    state: 'failed',
    attempt: 1,
    outputs: [],
    error: {
      code: 'comfyui-execution-error',
      detail: 'TestSyncError (graph node 2): Intentional sync execution error for testing',
      comfyui: { graphNode: '2', classType: 'TestSyncError', exceptionType: /RuntimeError/ }
    }
  })
  t.notMatch(JSON.stringify(failed), /\.(py|ts|js)\b|\/tmp\//, 'no paths of the machine')

  const tooSmall = { ...picture(3), '1': { class_type: 'EmptyImage', inputs: { width: 0, height: 8, batch_size: 1 } } }
  tooSmall['1'].inputs = { ...tooSmall['1'].inputs, color: 1 } as never
  t.match(await outcome(await generate(tooSmall)), {
    state: 'failed',
    attempt: 1,
    error: {
      code: 'comfyui-rejected',
      detail: /EmptyImage \(graph node 1\): Value 0 smaller than min/,
      comfyui: { node_errors: { '1': { class_type: 'EmptyImage', errors: [{ type: 'value_smaller_than_min' }] } } }
    }
  })
  t.match(await outcome(await generate(picture(4))), { state: 'succeeded' }, 'the node is unharmed')
  t.ok(comfy.isIdle())
  t.equal(comfy.storedFiles().length, 1)
})

t.test('a cancel frees ComfyUI and touches no other prompt', async t => {
  const { generate, when, outcome, cancel, task, simulator, isIdle, slot, ...comfy } = await open(t)
  const running = await generate(twoPictures(10, 60))
  await when(running, 'runs and has an output', ({ state, outputs }) => state === 'running' && outputs.length > 0)
  const queued = await generate(picture(11))
  t.match(await (await cancel(queued)).json(), { state: 'cancelled', attempt: 0 }, 'queued: it never starts')
  t.match(await task(running), { state: 'running' })

  const foreign = await postForeign(simulator.url, 1)
  t.match(await (await cancel(running)).json(), { state: 'cancelled' }, 'running: cancelled at once')
  const next = await generate(picture(12))
  await until('the foreign prompt ends', async () => {
    const state = (await task(next)).state
    const end = await endOfForeign(simulator.url, foreign)
    if (end === undefined && state !== 'queued') throw new Error('the node took a task beside a foreign prompt')
    return end
  })
  t.equal(await endOfForeign(simulator.url, foreign), 'success')
  t.match(await outcome(next), { state: 'succeeded', attempt: 1 }, 'then the node goes on')
  t.match(await task(running), { state: 'cancelled', outputs: [] }, 'cancelled for ever')
  t.equal((await cancel(next)).status, 409)
  t.ok(isIdle())
  t.equal(await slot(), undefined)
  t.equal(comfy.storedFiles().length, 1, 'nothing is left of the cancelled one')
})

t.test('a cancel between claim and start keeps the task off ComfyUI', async t => {
  const { generate, task, outcome, simulator, ledger, slot, redis } = await open(t)
  const foreign = await postForeign(simulator.url, 2)
  await until('the node sees it', async () => (await ledger.nodes.find(node))?.report.comfyui.foreign === 1)
  const id = await generate(picture(20))
  const { epoch } = (await ledger.nodes.find(node))!
  const claim = { node, epoch, task: id, nonce: 'ours', predictedSeconds: 1, why: {}, overtakes: [] }
  const [, claimed, cancelled] = await Promise.all([
    redis.hset(createKeys(ledger.prefix).node(node), 'intent', 'ready'),
    ledger.attempts.claim(claim),
    ledger.tasks.cancel(id, 'default')
  ])
  t.same([claimed, cancelled], ['claimed', 'cancelled'])
  await until('the slot is empty', async () => (await slot()) === undefined)
  t.match(await task(id), { state: 'cancelled', startedAt: null })
  await until('the foreign prompt ends', () => endOfForeign(simulator.url, foreign))
  t.match(await outcome(await generate(picture(21))), { state: 'succeeded' })
  t.equal(simulator.state().counters.promptsExecuted, 2, 'the cancelled one never was there')
})

t.test('an attempt past its time fails, with ComfyUI free again before the slot is', async t => {
  const { generate, outcome, isIdle, slot, storedFiles } = await open(t)
  const done = await outcome(await generate(twoPictures(30, 60), { timeoutSeconds: 1 }))
  t.ok(isIdle(), 'ComfyUI is free')
  t.match(done, { state: 'failed', attempt: 1, error: { code: 'timed-out' }, outputs: [] })
  t.equal(await slot(), undefined)
  await until('its files are removed', () => storedFiles().length === 0)
})

t.test('a result that comes after the lease has ended is refused and leaves no files', async t => {
  const { generate, when, outcome, reasons, simulator, storedFiles, redis, ledger } = await open(t, {
    env: { LEASE_MS: '1200', NODE_ALIVE_MS: '600', BLIND_MS: '60000' },
    heartbeatMs: 60_000
  })
  let isHeard = true
  const beats = setInterval(() => isHeard && redis.publish(`${ledger.prefix}wake:${node}`, ''), 100)
  t.teardown(() => clearInterval(beats))
  const id = await generate(picture(35, 2))
  await when(id, 'runs', ({ state }) => state === 'running')
  isHeard = false
  await until('its lease has ended', async () => (await reasons(id)).includes('lost'))
  isHeard = true
  const { state, attempt } = await outcome(id)
  t.equal(state, 'succeeded')
  t.ok(attempt >= 2, 'once at least its lease ended under it')
  t.same(new Set(await reasons(id)), new Set(['lost']))
  const { promptsExecuted } = simulator.state().counters
  t.ok(promptsExecuted >= 2 && promptsExecuted <= attempt, 'the first one ran to its end, and so did the last')
  t.equal(storedFiles().length, 1, 'only the last result is kept')
})

t.test('out of memory is tried once more after /free, and ends where nobody has more VRAM', async t => {
  const { generate, outcome, reasons, tap, simulator, node } = await open(t, {
    isTapped: true,
    simulator: { timeScale: 0.01 }
  })
  simulator.fault({ fault: 'out-of-memory', classType: 'KSampler' })
  const saved = await generate(painting('dreamshaper_8.safetensors', '1'))
  t.match(await outcome(saved), { state: 'succeeded', attempt: 2 })
  t.same(await reasons(saved), ['out-of-memory'])
  t.same(
    tap!.overheard('POST', '/free').map(({ body }) => JSON.parse(body)),
    [{ unload_models: true, free_memory: true }]
  )
  simulator.fault({ fault: 'out-of-memory', classType: 'KSampler', times: 3 })
  t.match(await outcome(await generate(painting('dreamshaper_8.safetensors', '2'))), {
    state: 'failed',
    attempt: 2,
    error: { code: 'out-of-memory', comfyui: { classType: 'KSampler' } }
  })
  await until('nothing counts as loaded', async () => (await node()).resident.length === 0)
})

for (const fault of ['hang', 'dead-worker'] as const) {
  t.test(`${fault}: the task goes back, and its node takes nothing until ComfyUI has let go`, async t => {
    const { generate, task, outcome, simulator, reasons, ledger, slot } = await open(t)
    simulator.fault({ fault })
    const id = await generate(picture(40))
    await until('the task goes back', async () => (await reasons(id))[0] === 'comfyui-died')
    t.equal((await ledger.nodes.find(node))?.report.comfyui.foreign, 1, 'the node is occupied before its slot is free')
    t.equal(await slot(), undefined)
    t.match(await task(id), { state: 'queued', attempt: 1 })
    simulator.fault({ fault: 'restart' })
    t.match(await outcome(id), { state: 'succeeded', attempt: 2 })
  })
}

t.test('a WebSocket that says nothing costs time, not results', async t => {
  const { generate, outcome, simulator } = await open(t, { env: { COMFYUI_SILENT_SECONDS: '30' } })
  simulator.fault({ fault: 'silent-websocket' })
  const done = await outcome(await generate(picture(50, 0.3)))
  t.match(done, { state: 'succeeded', attempt: 1, outputs: [{ graphNode: '9' }] })
})

t.test('a late answer to /prompt does not run the workflow twice', async t => {
  const { generate, outcome, simulator } = await open(t)
  simulator.fault({ fault: 'late-prompt-answer', ms: 1_500 })
  t.match(await outcome(await generate(picture(51))), { state: 'succeeded', attempt: 1 })
  t.equal(simulator.state().counters.promptsExecuted, 1)
})

t.test('a history that was lost means another attempt', async t => {
  const { generate, outcome, simulator, reasons } = await open(t)
  simulator.fault({ fault: 'lost-history' })
  const id = await generate(picture(52))
  t.match(await outcome(id), { state: 'succeeded', attempt: 2 })
  t.same(await reasons(id), ['node', 'back-off is over'])
})

t.test('ComfyUI dying under an attempt sends the task back at once, in front of its node', async t => {
  const { generate, when, outcome, simulator, comeBack, reasons, node } = await open(t)
  const id = await generate(picture(60, 2))
  await when(id, 'runs', ({ state }) => state === 'running')
  simulator.fault({ fault: 'crash' })
  await when(id, 'is queued again', ({ state }) => state === 'queued')
  t.same(await reasons(id), ['comfyui-died'], 'without back-off')
  t.match(await node(), { state: 'down', comfyui: { up: false }, attempt: null })
  await comeBack()
  t.match(await outcome(id), { state: 'succeeded', attempt: 2 })
})

t.test('what counted as loaded is gone with ComfyUI', async t => {
  const { generate, outcome, simulator, comeBack, node } = await open(t, { simulator: { timeScale: 0.01 } })
  await outcome(await generate(painting('dreamshaper_8.safetensors', '7')))
  const loaded = 'dreamshaper_8.safetensors'
  await until('the model counts as loaded', async () => (await node()).resident.join() === loaded)
  t.equal(simulator.state().models[0]?.name, loaded, 'and it is')
  simulator.fault({ fault: 'crash' })
  await until('the node is down', async () => (await node()).state === 'down')
  await comeBack()
  await until('the node is ready', async () => (await node()).state === 'ready')
  await until('nothing counts as loaded', async () => (await node()).resident.length === 0)
})

t.test('what is believed to be loaded is what ComfyUI holds after its latest prompt', async t => {
  const { generate, outcome, simulator, node } = await open(t, { simulator: { timeScale: 0.01 } })
  const held = () => simulator.state().models.map(({ name }) => name)
  const workflows = [
    painting('dreamshaper_8.safetensors', '1'),
    picture(70),
    painting('sd_xl_base_1.0.safetensors', '2')
  ]
  for (const workflow of workflows) {
    await outcome(await generate(workflow))
    await until('the heartbeat agrees', async () => (await node()).resident.join() === held().join())
  }
  t.same(held(), ['sd_xl_base_1.0.safetensors'])
})

t.test('the workflow reaches ComfyUI to the last digit, in its own spelling, and nothing else does', async t => {
  const { generate, outcome, tap } = await open(t, {
    isTapped: true,
    simulator: { timeScale: 0.01, models: { checkpoints: { 'sd\\base.safetensors': 1e9 } } }
  })
  const id = await generate(painting('sd/base.safetensors', '18446744073709551615'), {
    client_id: 'mine',
    number: -1,
    prompt_id: 'theirs',
    extra_data: { extra_pnginfo: { workflow: { nodes: [1.5] } }, api_key_comfy_org: 'secret', client_id: 'mine' }
  })
  t.match(await outcome(id), { state: 'succeeded', client_id: 'mine' })
  const [posted, ...others] = tap!.overheard('POST', '/prompt')
  t.same(others, [])
  const body = posted!.body
  t.ok(body.includes('"seed":18446744073709551615'), 'every digit')
  const sent = JSON.parse(body)
  t.equal(sent.prompt['4'].inputs.ckpt_name, 'sd\\base.safetensors', "the node's spelling")
  t.same(sent.extra_data, { extra_pnginfo: { workflow: { nodes: [1.5] } } })
  t.match(sent, { client_id: /^comfy-service\/gpu-test\//, prompt_id: /^[0-9a-f]{8}-/ })
  t.same(Object.keys(sent).sort(), ['client_id', 'extra_data', 'prompt', 'prompt_id'])
  t.notMatch(body, /mine|theirs|secret/)
})

t.test('a store that is away for a moment costs no attempt', async t => {
  let refusals = 2
  const wrap = ({ put }: ObjectStore): Partial<ObjectStore> => ({
    put: async (path, body, limits) => {
      if (refusals-- > 0) throw new StorageError('unavailable', 'S3 does not answer')
      return put(path, body, limits)
    }
  })
  const { generate, outcome, bytes, reasons } = await open(t, { wrap })
  const id = await generate(picture(77))
  const done = await outcome(id)
  t.match(done, { state: 'succeeded', attempt: 1 })
  t.same(await reasons(id), [])
  t.equal((await bytes(done.outputs[0]!.url)).toString('hex', 0, 8), pngSignature)
})

t.test('a full disk sends the task to another attempt, which clears up behind the lost one', async t => {
  let lost = ''
  const wrap = ({ put }: ObjectStore): Partial<ObjectStore> => ({
    put: async (path, body, limits) => {
      if (lost !== '') return put(path, body, limits)
      lost = path.replace(/[^/]+\/[^/]+$/, 'lost-token/0-x.png')
      await put(lost, Buffer.from('half of it'), limits)
      throw new StorageError('no-space', 'the output folder is full')
    }
  })
  const { generate, outcome, store, reasons } = await open(t, { wrap })
  const id = await generate(picture(78))
  const done = await outcome(id)
  t.match(done, { state: 'succeeded', attempt: 2 })
  t.same(await reasons(id), ['node', 'back-off is over'])
  const left = async () => (await store.list(taskFolder({ tenant: 'default', taskId: id }))).map(({ path }) => path)
  await until('nothing of the lost one is left', async () => !(await left()).includes(lost))
  t.equal((await left()).length, 1)
})

t.test('an output that cannot be stored fails the task and says why', async t => {
  const { generate, outcome, storedFiles } = await open(t, { env: { MAX_OUTPUT_BYTES: '1024' } })
  const big = {
    ...picture(79),
    '1': { class_type: 'StubImage', inputs: { content: 'NOISE', width: 256, height: 256, batch_size: 1 } }
  }
  const { state, attempt, error } = await outcome(await generate(big))
  t.same([state, attempt], ['failed', 1])
  t.match(error, { code: 'output-not-stored', detail: 'the object is larger than 1024 bytes' })
  t.same(storedFiles(), [])
})

t.test("what a task leaves in ComfyUI's folders is removed, and nothing else", async t => {
  const { generate, outcome, bytes, comfyUiFiles, comfyUiDir } = await open(t, { env: { COMFYUI_DIR: 'shared' } })
  const outside = join(comfyUiDir, '..', 'outside')
  mkdirSync(outside)
  writeFileSync(join(outside, 'kept'), 'kept')
  for (const name of ['output/comfy-balancer/another', 'input/comfy-balancer'])
    mkdirSync(join(comfyUiDir, name), { recursive: true })
  const foreign = [
    'output/theirs.png',
    'input/theirs.png',
    'output/comfy-balancer/another/x.png',
    'input/comfy-balancer/a.png'
  ]
  for (const name of foreign) writeFileSync(join(comfyUiDir, name), 'x')
  symlinkSync(outside, join(comfyUiDir, 'output', 'comfy-balancer', 'linked'))
  const done = await outcome(await generate(picture(80)))
  t.equal((await bytes(done.outputs[0]!.url)).toString('hex', 0, 8), pngSignature)
  await until('the picture is gone', () => comfyUiFiles().length === 2)
  t.ok(foreign.every(name => existsSync(join(comfyUiDir, name))))

  const folders = await openComfyUiFolders(comfyUiDir)
  t.equal(await folders.removeOld(Date.now()), 0, 'it may be in use')
  const dayAgo = Date.now() / 1_000 - 100_000
  utimesSync(join(comfyUiDir, 'input/comfy-balancer/a.png'), dayAgo, dayAgo)
  t.equal(await folders.removeOld(Date.now()), 1)
  t.equal(await folders.removeOld(Date.now() + 100_000_000), 2)
  t.same(
    foreign.filter(name => existsSync(join(comfyUiDir, name))),
    ['output/theirs.png', 'input/theirs.png']
  )
  t.equal(readFileSync(join(outside, 'kept'), 'utf8'), 'kept', 'a link is removed, not what it leads to')
  await t.rejects(folders.removeOutputs('../../input'), { code: 'unsafe-path' })
  await t.rejects(openComfyUiFolders(outside), /COMFYUI_DIR: .* has no folder output/)
})
