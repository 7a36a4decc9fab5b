import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { encodePng } from '@comfy-balancer/comfyui-simulator/media/png-encoder'
import { createSimulator } from '@comfy-balancer/comfyui-simulator/simulator'
import type { UploadedInput } from '@comfy-balancer/contract/input'
import { createLogger } from '@comfy-balancer/service-kit/logger'
import { redisOptions } from '@comfy-balancer/service-kit/redis-config'
import { createFolderStore } from '@comfy-balancer/storage/folder-store'
import { connect } from '@comfy-balancer/task-store/connection'
import { createKeys } from '@comfy-balancer/task-store/keys'
import { createLedger } from '@comfy-balancer/task-store/ledger'
import { openScratchLedger } from '@comfy-balancer/task-store/scratch-ledger'
import t, { type Test } from 'tap'
import { createApp } from '../src/app.ts'
import { preparingFailed } from '../src/attempt/outcome.ts'
import { readComfyServiceConfig } from '../src/config.ts'
import { createInputShelf } from '../src/inputs/input-shelf.ts'
import { putOnNode } from '../src/inputs/put-on-node.ts'
import { createCaller } from './caller.ts'
import { until } from './wait.ts'

const node = 'gpu-test'
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const nameOf = (bytes: Buffer, extension = 'png'): string => `${sha256(bytes).slice(0, 32)}.${extension}`

const aPicture = (shade: number, side = 32): Promise<Buffer> =>
  encodePng({ width: side, height: side, channels: 3, pixels: new Uint8Array(side * side * 3).fill(shade) })

/** A server of one picture. */
const openPictures = async (t: Test, picture: Buffer): Promise<string> => {
  const server = createServer((_, reply) => reply.end(picture)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A simulated ComfyUI and the service in this process, alone: it dispatches for itself. */
const open = async (t: Test, env: Record<string, string> = {}) => {
  const folder = t.testdir({})
  const scratch = openScratchLedger()
  const options = { hasPreviews: false, inputDir: join(folder, 'input'), outputDir: join(folder, 'output') }
  let simulator = createSimulator(options)
  await simulator.listen()
  const config = readComfyServiceConfig({
    REDIS_URL: process.env.REDIS_URL,
    REDIS_KEY_PREFIX: scratch.ledger.prefix,
    COMFYUI_URL: simulator.url,
    HEARTBEAT_MS: '100',
    EGRESS_ALLOW_PRIVATE_CIDRS: '127.0.0.0/8',
    ...env
  })
  const { logger } = createLogger({ service: 'comfy-service', instance: node, level: 'silent' })
  const connection = await connect(redisOptions(config), logger)
  const ledger = createLedger(connection.commands, config.REDIS_KEY_PREFIX)
  const store = await createFolderStore({ folder: join(folder, 'store') })
  const app = await createApp(config, { connection, store, logger, node })
  const url = await app.server.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(async () => {
    await simulator.close()
    for (const step of app.steps) await step.run()
    await scratch.close()
  })
  await app.begin(url)
  const caller = createCaller(url)
  await until('the node is ready', async () => (await caller.node()).state === 'ready')
  const brought = join(options.inputDir, 'comfy-balancer')
  return {
    ...caller,
    ledger,
    redis: connection.commands,
    keys: createKeys(config.REDIS_KEY_PREFIX),
    brought,
    async upload(bytes: Buffer, name: string): Promise<UploadedInput> {
      const body = new FormData()
      body.append('file', new Blob([bytes]), name)
      return (await (await fetch(`${url}/api/v1/inputs`, { method: 'POST', body })).json()) as UploadedInput
    },
    /** ComfyUI dies, and comes back as another machine would be: nothing is in its input folder. */
    async replaceComfyUi(): Promise<void> {
      const { port } = simulator
      await simulator.close()
      rmSync(options.inputDir, { recursive: true, force: true })
      simulator = createSimulator({ ...options, port })
      await simulator.listen()
    }
  }
}

/** Each picture is loaded by its name and shown; the first after so many seconds. */
const shown = (images: string[], seconds = 0) =>
  Object.fromEntries(
    images.flatMap((image, at) => [
      [`load${at}`, { class_type: 'LoadImage', inputs: { image } }],
      [`wait${at}`, { class_type: 'TestSleep', inputs: { value: [`load${at}`, 0], seconds: at === 0 ? seconds : 0 } }],
      [`save${at}`, { class_type: 'SaveImage', inputs: { images: [`wait${at}`, 0], filename_prefix: 'x' } }]
    ])
  )

/** Width of a PNG. */
const widthOf = (png: Buffer): number => png.readUInt32BE(16)

t.test('files that come along by upload, as text or by URL are on the node before its prompt, each once', async t => {
  const [up, inline, far] = [await aPicture(10, 40), await aPicture(20, 48), await aPicture(30, 56)]
  const pictures = await openPictures(t, far)
  const { generate, outcome, bytes, upload, brought } = await open(t, { EGRESS_PORTS_ALLOW: new URL(pictures).port })
  const { id } = await upload(up, 'whatever.jpg')
  const names = ['up.png', 'text.png', 'far.png', 'again.png']
  const inputs = {
    'up.png': { upload: id },
    'text.png': { base64: inline.toString('base64') },
    'far.png': { url: `${pictures}/far` },
    'again.png': { upload: id }
  }
  const run = async () => {
    const done = await outcome(await generate(shown(names), { inputs }))
    t.match(done, { state: 'succeeded', attempt: 1 })
    const byNode = new Map(done.outputs.map(output => [output.graphNode, output.url]))
    return Promise.all(names.map(async (_, at) => widthOf(await bytes(byNode.get(`save${at}`)!))))
  }
  t.same(await run(), [40, 48, 56, 40])
  t.same(readdirSync(brought).sort(), [nameOf(up), nameOf(inline), nameOf(far)].sort(), 'under names of their content')
  const written = () => readdirSync(brought).map(name => statSync(join(brought, name)).mtimeMs)
  const before = written()
  t.same(await run(), [40, 48, 56, 40])
  t.same(written(), before, 'what the node has is not sent again')
  writeFileSync(join(brought, nameOf(up)), 'damaged')
  await run()
  t.equal(sha256(readFileSync(join(brought, nameOf(up)))), sha256(up), 'what is not that very content is')
  utimesSync(join(brought, nameOf(up)), new Date(0), new Date(0))
  await run()
  t.ok(statSync(join(brought, nameOf(up))).mtimeMs > 0, 'and what is so old that it may be cleared away')
})

t.test('after a failover the files are put in place again', async t => {
  const picture = await aPicture(40)
  const { generate, when, outcome, replaceComfyUi, brought } = await open(t)
  const inputs = { 'ref.png': { base64: picture.toString('base64') } }
  const id = await generate(shown(['ref.png'], 2), { inputs })
  await when(id, 'runs', task => task.state === 'running')
  await replaceComfyUi()
  t.match(await outcome(id), { state: 'succeeded', attempt: 2 })
  t.same(readdirSync(brought), [nameOf(picture)])
})

t.test('a file that cannot be had fails its task once, in words for its caller', async t => {
  const pictures = await openPictures(t, await aPicture(50, 64))
  const { generate, outcome, upload, redis, keys } = await open(t, {
    EGRESS_PORTS_ALLOW: new URL(pictures).port,
    INPUT_MAX_PIXELS: '2000'
  })
  const huge = await outcome(await generate(shown(['far.png']), { inputs: { 'far.png': { url: pictures } } }))
  const flaw = 'the file far.png cannot be used: the image has 64 × 64 pixels; the limit is 2000 in all'
  t.match(huge, { state: 'failed', attempt: 1, error: { code: 'input-unavailable', detail: flaw } })

  const { id, sha256: digest } = await upload(await aPicture(60), 'x.png')
  const lock = await generate(shown(['lock.png'], 2), {
    inputs: { 'lock.png': { base64: (await aPicture(61)).toString('base64') } }
  })
  const waiting = await generate(shown(['x.png']), { inputs: { 'x.png': { upload: id } } })
  await redis.del(keys.input('default', digest))
  t.match(await outcome(lock), { state: 'succeeded' })
  const gone = `the file x.png is not there any more: ${id}`
  t.match(await outcome(waiting), { state: 'failed', attempt: 1, error: { code: 'input-unavailable', detail: gone } })
})

t.test('a store that does not give a file means another try, also when it breaks off in the middle', async t => {
  const record = { id: 'i', sha256: 'a'.repeat(64), path: 'p', bytes: 5, mediaType: 'image/png', expiresMs: 0 }
  const wanted = { source: { upload: 'i' }, places: [{ graphNode: '1', input: 'image', name: 'a.png' }] }
  const search = { tenant: 'default', signal: new AbortController().signal }
  const shelf = (openFile: () => Promise<{ stream: Readable } | undefined>) =>
    createInputShelf({
      egress: { fetch: async () => Promise.reject(new Error('unused')) },
      uploads: { find: async () => record },
      store: { open: openFile },
      maxPixels: 1
    })
  const http = {
    statOf: async () => undefined,
    upload: async ({ body }: { body: Uint8Array | AsyncIterable<Uint8Array> }) => {
      try {
        for await (const _ of body);
      } catch (cause) {
        throw new Error('ComfyUI did not answer', { cause })
      }
      return { filename: 'x', subfolder: '', type: 'input' as const }
    }
  }
  const put = async (openFile: () => Promise<{ stream: Readable } | undefined>) =>
    putOnNode(await shelf(openFile)(wanted, search), http, search.signal).catch(preparingFailed)
  const broken = () =>
    Readable.from(
      (async function* () {
        yield Buffer.from('abc')
        throw new Error('EIO')
      })()
    )
  const again = { kind: 'retry', class: 'node', errorSource: 'ours', problem: { code: 'input-unavailable' } }
  t.match(await put(async () => undefined), again)
  t.match(await put(async () => Promise.reject(new Error('EACCES'))), again)
  t.match(await put(async () => ({ stream: broken() })), again)
  t.equal(await put(async () => ({ stream: Readable.from([Buffer.from('abcde')]) })), 'x')
})
