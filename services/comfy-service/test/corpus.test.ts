import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { ComfyUiError } from '@comfy-balancer/comfyui/errors'
import { readRequest } from '@comfy-balancer/comfyui/graph'
import { encodePng } from '@comfy-balancer/comfyui-simulator/media/png-encoder'
import { createSimulator } from '@comfy-balancer/comfyui-simulator/simulator'
import type { Task } from '@comfy-balancer/contract/task'
import { createCapability, foldPath } from '@comfy-balancer/domain/capability'
import { EgressError, type FetchedFile } from '@comfy-balancer/service-kit/egress'
import { inputUrlsOf } from '@comfy-balancer/service-kit/input-urls'
import { createLogger } from '@comfy-balancer/service-kit/logger'
import { redisOptions } from '@comfy-balancer/service-kit/redis-config'
import { createFolderStore } from '@comfy-balancer/storage/folder-store'
import { connect } from '@comfy-balancer/task-store/connection'
import { createLedger } from '@comfy-balancer/task-store/ledger'
import { openScratchLedger } from '@comfy-balancer/task-store/scratch-ledger'
import t, { type Test } from 'tap'
import { createApp } from '../src/app.ts'
import { preparingFailed } from '../src/attempt/outcome.ts'
import { readComfyServiceConfig } from '../src/config.ts'
import { createInputShelf } from '../src/inputs/input-shelf.ts'
import { InputUnavailable } from '../src/inputs/input-unavailable.ts'
import { prepareInputs } from '../src/inputs/prepare-inputs.ts'
import { createCaller } from './caller.ts'
import { corpusFolder, type GraphNodes, hasCorpus, type ObjectInfo, readCorpus, readIndex } from './corpus.ts'
import { until } from './wait.ts'

const skip = hasCorpus ? false : 'there is no ../shared/workflows-corpus'
const node = 'gpu-test'
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** A small picture whose colour depends on the seed. */
const png = (seed: string): Promise<Buffer> => {
  const color = createHash('sha256').update(seed).digest()
  const pixels = Uint8Array.from({ length: 48 * 32 * 3 }, (_, at) => color[at % 3]!)
  return encodePng({ width: 48, height: 32, channels: 3, pixels })
}

/** A server of pictures, a different one per path; `/missing` is none and `/away` is somewhere else. */
const openPictures = async (t: Test) => {
  const asked: string[] = []
  const server = createServer(async ({ url = '' }, reply) => {
    asked.push(url)
    if (url === '/missing') reply.writeHead(404).end()
    else if (url === '/away') reply.writeHead(302, { location: 'http://169.254.169.254/latest/' }).end()
    else reply.writeHead(200, { 'content-type': 'text/html' }).end(await png(url))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { asked, port, url: `http://127.0.0.1:${port}` }
}

/** A simulated ComfyUI that has learned the corpus, with the pictures that it names, and the service in this process, alone. */
const open = async (t: Test) => {
  const folder = t.testdir({})
  const inputDir = join(folder, 'input')
  mkdirSync(inputDir)
  const pictures = await openPictures(t)
  const learnDirs = hasCorpus ? [corpusFolder] : []
  const simulator = createSimulator({ timeScale: 0.0001, hasPreviews: false, learnDirs, inputDir })
  await simulator.listen()
  const objectInfo = (await (await fetch(`${simulator.url}/object_info`)).json()) as ObjectInfo
  const workflows = hasCorpus ? readCorpus(objectInfo, pictures.url) : []
  for (const name of workflows.flatMap(({ pictures }) => pictures)) writeFileSync(join(inputDir, name), await png(name))

  const scratch = openScratchLedger()
  const config = readComfyServiceConfig({
    REDIS_URL: process.env.REDIS_URL,
    REDIS_KEY_PREFIX: scratch.ledger.prefix,
    COMFYUI_URL: simulator.url,
    HEARTBEAT_MS: '100',
    NODE_ALIVE_MS: '10000',
    EGRESS_ALLOW_PRIVATE_CIDRS: '127.0.0.0/8',
    EGRESS_PORTS_ALLOW: `80,${pictures.port}`
  })
  const level = (process.env.TEST_LOG_LEVEL as 'silent' | undefined) ?? 'silent'
  const { logger } = createLogger({ service: 'comfy-service', instance: node, level })
  const connection = await connect(redisOptions(config), logger)
  const ledger = createLedger(connection.commands, config.REDIS_KEY_PREFIX)
  const store = await createFolderStore({ folder: join(folder, 'store') })
  const app = await createApp(config, { connection, store, logger, node })
  const url = await app.server.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(async () => {
    for (const step of app.steps) await step.run()
    await simulator.close()
    await scratch.close()
  })
  await app.begin(url)
  const caller = createCaller(url)
  await until('the node is ready', async () => (await caller.node()).state === 'ready')
  return {
    ...caller,
    objectInfo,
    workflows,
    pictures,
    workflow: (name: string): GraphNodes => structuredClone(workflows.find(one => one.name === name)!.graphNodes),
    fetched: () => readdirSync(join(inputDir, 'comfy-balancer')),
    needOf: async (id: string) => (await ledger.waiting.need((await ledger.tasks.find(id))!.need))!
  }
}

type Open = Awaited<ReturnType<typeof open>>

/** The output graph nodes of a finished task whose files came back whole, as told. */
const deliveredBy = async ({ outputs }: Task, bytes: Open['bytes']): Promise<Set<string>> => {
  for (const output of outputs) {
    const body = await bytes(output.url)
    if (sha256(body) !== output.sha256 || body.length !== output.bytes || body.length === 0) {
      throw new Error(`${output.filename} is not what it is said to be`)
    }
  }
  return new Set(outputs.map(output => output.graphNode))
}

const outputsIn = (graphNodes: GraphNodes, objectInfo: ObjectInfo): string[] =>
  Object.keys(graphNodes).filter(id => objectInfo[graphNodes[id]!.class_type]!.output_node)

/** Counts what was expected and what of it was found. */
const createCount = () => {
  const expected = new Set<string>()
  const found = new Set<string>()
  return {
    compare(place: string, wanted: readonly string[], given: readonly string[]): string[] {
      for (const one of wanted) expected.add(`${place} ${one}`)
      for (const one of wanted) if (given.includes(one)) found.add(`${place} ${one}`)
      return wanted.filter(one => !given.includes(one))
    },
    say: () => `${found.size} of ${expected.size}`
  }
}

t.test('everything that other programs send', { skip }, async t => {
  const { workflows, generate, outcome, bytes, objectInfo, pictures, fetched, needOf } = await open(t)
  const ids = await Promise.all(workflows.map(({ text }) => generate(text)))

  await t.test('gives every output, its URLs fetched first', async t => {
    const nodes = createCount()
    let succeeded = 0
    let files = 0
    for (const [at, { name, graphNodes }] of workflows.entries()) {
      const done = await outcome(ids[at]!)
      t.match(done, { state: 'succeeded', attempt: 1, error: null }, name)
      const missing = nodes.compare(name, outputsIn(graphNodes, objectInfo), [...(await deliveredBy(done, bytes))])
      t.same(missing, [], `${name}: every output graph node gave something`)
      if (done.state === 'succeeded') succeeded++
      files += done.outputs.length
    }
    t.equal(workflows.length, 36)
    t.comment(`${succeeded} of ${workflows.length} workflows; ${nodes.say()} output graph nodes; ${files} files`)
    const paths = [...new Set(workflows.flatMap(({ urls }) => urls))].map(url => new URL(url).pathname)
    t.same([...pictures.asked].sort(), paths.sort(), 'each URL was asked for once')
    const wanted = await Promise.all(paths.map(async path => `${sha256(await png(path)).slice(0, 32)}.png`))
    t.same(fetched().sort(), wanted.sort(), 'and ComfyUI has what came')
    t.comment(`${paths.length} URLs fetched`)
  })

  await t.test('has its models and inputs recognised by value, whatever the class that loads them', async t => {
    const index = readIndex()
    const [loaders, models, media] = [createCount(), createCount(), createCount()]
    const pairs = new Set<string>()
    const more = new Set<string>()
    for (const [at, { name, text }] of workflows.entries()) {
      const need = await needOf(ids[at]!)
      const wanted = index.get(name)!
      const given = need.models.map(({ classType, input }) => `${classType}.${input}`)
      const values = need.models.map(({ value }) => foldPath(value))
      t.same(loaders.compare(name, wanted.loaders, given), [], `${name}: inputs that name models`)
      t.same(models.compare(name, wanted.models.map(foldPath), values), [], `${name}: models`)
      t.same(media.compare(name, wanted.media, mediaOf(text, need.files)), [], `${name}: inputs that name media`)
      for (const pair of wanted.loaders) pairs.add(pair)
      const unnamed = values.flatMap((value, at) =>
        wanted.models.map(foldPath).includes(value) ? [] : [`${given[at]} = ${value}`]
      )
      for (const one of unnamed) more.add(one)
    }
    t.comment(`${loaders.say()} inputs that name models (${pairs.size} different class.input)`)
    t.comment(`${models.say()} models, ${media.say()} inputs that name media`)
    t.comment(`beyond the index: ${[...more].join('; ')}`)
  })
})

/** Inputs of a request that name a file, whether it is there already or has yet to be fetched. */
const mediaOf = (text: string, files: readonly { classType: string; input: string }[]): string[] => {
  const read = readRequest(`{"prompt":${text}}`)
  if ('flaws' in read) throw new Error(JSON.stringify(read.flaws))
  const { graphNodes } = read.workflow
  const isUpload = () => true
  const urls = inputUrlsOf(read.workflow, { outputs: [...graphNodes.keys()], isUpload })
  const named = urls.map(({ graphNode, input }) => `${graphNodes.get(graphNode)!.classType}.${input}`)
  return [...files.map(({ classType, input }) => `${classType}.${input}`), ...named]
}

t.test("the other system's path separators, either way", { skip }, async t => {
  const { workflows, workflow, generate, outcome } = await open(t)
  const windows = workflows.filter(({ text }) => text.includes('\\\\'))
  t.ok(windows.length >= 8)
  for (const { name, text } of windows) {
    t.match(await outcome(await generate(text.replaceAll('\\\\', '/'))), { state: 'succeeded', attempt: 1 }, name)
  }
  const posix = workflow('comfyui-sdk__example-img2img-workflow.json')
  const loader = Object.values(posix).find(one => one.class_type === 'CheckpointLoaderSimple')!
  loader.inputs.ckpt_name = String(loader.inputs.ckpt_name).replace('/', '\\')
  t.match(await outcome(await generate(posix)), { state: 'succeeded', attempt: 1 })
})

t.test('ids of subgraphs, graph nodes that lead nowhere, and outputs only over the WebSocket', { skip }, async t => {
  const { workflow, workflows, generate, outcome, bytes, objectInfo, pictures } = await open(t)
  const inSubgraphs = withIds(workflow('salad__sd1.5-txt2img.json'), id => `57:${id}`)
  const first = await outcome(await generate(inSubgraphs))
  t.equal(first.state, 'succeeded')
  t.same([...(await deliveredBy(first, bytes))], outputsIn(inSubgraphs, objectInfo))

  const dangling = workflow('salad__sd1.5-txt2img.json')
  const image = `${pictures.url}/never`
  dangling.loose = { class_type: 'LoadImage', inputs: { image: 'nobody-has-this.png' } }
  dangling.looseUrl = { class_type: 'LoadImage', inputs: { image } }
  dangling.inverted = { class_type: 'ImageInvert', inputs: { image: ['loose', 0] } }
  t.match(await outcome(await generate(dangling)), { state: 'succeeded', attempt: 1 })
  t.same(pictures.asked, [], 'what leads nowhere is not fetched')

  const overSocket = workflow('salad__flux-txt2img.json')
  for (const graphNode of Object.values(overSocket)) {
    if (graphNode.class_type !== 'SaveImage') continue
    graphNode.class_type = 'SaveImageWebsocket'
    delete graphNode.inputs.filename_prefix
  }
  const swarm = workflows.find(({ name }) => name.startsWith('swarmui'))!.text
  for (const prompt of [JSON.stringify(overSocket), swarm]) {
    const done = await outcome(await generate(prompt))
    t.match(done, { state: 'succeeded', outputs: [{ mediaType: 'image/png', kind: 'image' }] })
    t.same([...(await deliveredBy(done, bytes))], outputsIn(JSON.parse(prompt), objectInfo))
  }
})

const withIds = (graphNodes: GraphNodes, rename: (id: string) => string): GraphNodes => {
  const renamed = (value: unknown): unknown =>
    Array.isArray(value) && typeof value[0] === 'string' ? [rename(value[0]), value[1]] : value
  return Object.fromEntries(
    Object.entries(graphNodes).map(([id, { inputs, ...rest }]) => [
      rename(id),
      { ...rest, inputs: Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, renamed(value)])) }
    ])
  )
}

const shown = (...images: string[]): GraphNodes =>
  Object.fromEntries(
    images.flatMap((image, at) => [
      [`load${at}`, { class_type: 'LoadImage', inputs: { image } }],
      [`show${at}`, { class_type: 'PreviewImage', inputs: { images: [`load${at}`, 0] } }]
    ])
  )

t.test('an input that cannot be had fails the task once, in words for its caller', async t => {
  const { generate, post, outcome, pictures } = await open(t)
  const reasons = {
    '/missing': 'the input image of graph node load0 could not be fetched: the server of the URL answered 404',
    '/away': 'the input image of graph node load0 could not be fetched: the URL must not lead to a private address'
  }
  for (const [path, detail] of Object.entries(reasons)) {
    const done = await outcome(await generate(shown(pictures.url + path)))
    t.match(done, { state: 'failed', attempt: 1, outputs: [], error: { code: 'input-unavailable', detail } })
  }
  t.match(await outcome(await generate(shown(`${pictures.url}/fine`))), { state: 'succeeded' }, 'the node is unharmed')
  for (const url of ['http://10.0.0.1/a.png', 'file:///etc/passwd', 'http://u:p@a.example/', 'http://a.example:22/']) {
    const answer = await post(JSON.stringify({ prompt: shown(url) }))
    const errors = [{ pointer: '/prompt/load0/inputs/image', code: 'input-url-blocked' }]
    t.match(await answer.json(), { status: 422, code: 'input-url-blocked', errors }, url)
  }
})

t.test('a URL is fetched once, named by what came, and what went wrong decides about another try', async t => {
  const answers: Record<string, Buffer> = {
    'https://a.example/one.jpg': await png('one'),
    'https://a.example/two.STL?key=secret': Buffer.from('solid two'),
    'https://a.example/three.svg': Buffer.from('<svg onload="alert(1)"/>')
  }
  const asked: string[] = []
  const uploaded: string[] = []
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, fatal: () => {} }
  const fetchOne = async (url: string): Promise<FetchedFile> => {
    asked.push(url)
    const bytes = answers[url]
    if (!bytes) throw new EgressError('unreachable', 'the server of the URL did not give the file in time')
    return { bytes, url, mediaType: undefined }
  }
  const http = {
    statOf: async () => undefined,
    upload: async ({ filename, subfolder = '' }: { filename: string; subfolder?: string }) => {
      uploaded.push(filename)
      return { filename, subfolder, type: 'input' as const }
    }
  }
  const catalog = { output: false, required: [], choices: {}, uploads: ['image'] }
  const classes = { LoadImage: catalog, PreviewImage: { ...catalog, output: true, uploads: [] } }
  const capability = createCapability({ classes, lists: [], modelBytes: {} })
  const shelf = createInputShelf({
    egress: { fetch: fetchOne },
    uploads: { find: async () => undefined },
    store: { open: async () => undefined },
    maxPixels: 1e6
  })
  const prepare = (...images: string[]) => {
    const read = readRequest(JSON.stringify({ prompt: shown(...images) }))
    if ('flaws' in read) throw new Error(JSON.stringify(read.flaws))
    const outputs = images.map((_, at) => `show${at}`)
    const signal = new AbortController().signal
    const preparation = { workflow: read.workflow, outputs, capability, brought: {}, tenant: 'default', signal }
    return prepareInputs(preparation, { http, shelf, log })
  }

  const [one, two, three] = Object.keys(answers) as [string, string, string]
  const values = await prepare(one, two, one, 'own.png', three)
  t.same(asked.sort(), Object.keys(answers).sort())
  const name = (url: string, extension: string) => `${sha256(answers[url]!).slice(0, 32)}.${extension}`
  t.same(uploaded.sort(), [name(one, 'png'), name(two, 'stl'), name(three, 'bin')].sort())
  t.same([...values.keys()].sort(), ['load0', 'load1', 'load2', 'load4'])
  t.equal(values.get('load2')?.get('image'), `comfy-balancer/${name(one, 'png')}`)

  const failed = await prepare('https://b.example/').catch((error: unknown) => error)
  t.match(preparingFailed(failed), { kind: 'retry', class: 'node', problem: { code: 'input-unavailable' } })
  t.notMatch((failed as Error).message, /example/, 'without the URL')
  t.match(preparingFailed(new InputUnavailable('blocked', 'no')), { kind: 'failed', problem: { detail: 'no' } })
  const refused = new ComfyUiError('comfyui-unreachable', 'gone', { refused: true })
  t.match(preparingFailed(refused), { kind: 'retry', class: 'comfyui-died' })
})
