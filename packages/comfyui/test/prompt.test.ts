import t from 'tap'
import { cancelPrompt } from '../src/cancel.ts'
import { readRequest } from '../src/graph.ts'
import { createComfyUiHttp } from '../src/http.ts'
import { createObserver, type ObserverOptions } from '../src/observer.ts'
import { adoptPrompt, runPrompt } from '../src/prompt.ts'
import type { PromptEvent } from '../src/relay.ts'
import type { Verdict } from '../src/verdict.ts'
import type { Patience } from '../src/watch.ts'
import { createFake, entryOf, until } from './fake.ts'

type Test = Pick<typeof t, 'teardown'>

const log = { debug: () => {}, info: () => {}, warn: () => {} }
const id = '44ae3ebc-3bbc-414a-aa8f-2ec71d87c640'
const patience = {
  vanishedMs: 300,
  lateHistoryMs: 3000,
  unreachableMs: 1500,
  refusedMs: 200,
  deadWorkerMs: 400,
  silentMs: 1000,
  answerMs: 300,
  imagesMs: 1000
}
const graph = {
  1: { class_type: 'EmptyImage', inputs: { width: 64 } },
  2: { class_type: 'ImageInvert', inputs: { image: ['1', 0] } },
  3: { class_type: 'SaveImage', inputs: { images: ['2', 0], filename_prefix: 'x' } }
}
const files = { 3: { images: [{ filename: 'x_00001_.png', subfolder: '', type: 'output' }] } }

const read = readRequest(JSON.stringify({ prompt: graph }))
const workflow = 'workflow' in read ? read.workflow : { graphNodes: new Map() }

const setUp = async (t: Test, options: Partial<ObserverOptions> = {}) => {
  const fake = await createFake()
  const http = createComfyUiHttp({ url: fake.url, timeoutMs: 1000, submitTimeoutMs: 3000 })
  const fast = { clientId: 'node', quietMs: 100, livelyMs: 200, idleMs: 200, deafMs: 200 }
  const observer = createObserver({ url: fake.url, ...fast, ...options }, { http, log })
  t.teardown(async () => {
    await observer.close()
    await http.close()
    await fake.close()
  })
  const events: PromptEvent[] = []
  const deps = { http, observer, log }
  const order = { promptId: id, workflow, outputs: ['3'], timeoutMs: 15_000, patience: patience as Partial<Patience> }
  const text = (clientId: string) => JSON.stringify({ prompt_id: id, client_id: clientId, prompt: graph })
  const run = (more: object = {}): Promise<Verdict> =>
    runPrompt(deps, { ...order, text, ...more }, event => events.push(event))
  const posted = () => until(() => fake.state.pending.includes(id) || fake.state.running.includes(id))
  return { fake, http, observer, deps, order, events, run, posted }
}

const states = (...nodes: [id: string, state: string, value: number][]) => ({
  nodes: Object.fromEntries(nodes.map(([node, state, value]) => [node, { node_id: node, state, value, max: 4 }]))
})

t.test('a prompt is followed from its start over progress and preview to its files', async t => {
  const { fake, run, posted, observer, events } = await setUp(t)
  const verdict = run()
  await posted()
  fake.start(id)
  fake.tell('execution_start', id)
  fake.tell('execution_cached', id, { nodes: ['1'] })
  fake.tell('progress_state', id, states(['2', 'running', 0]))
  fake.tell('executing', id, { node: '2', display_node: '2' })
  fake.tell('progress_state', id, states(['2', 'running', 2]))
  fake.tell('progress', id, { node: '2', value: 2, max: 4 })
  const head = Buffer.from(JSON.stringify({ prompt_id: id, node_id: '2', image_type: 'image/png' }))
  const sizes = Buffer.alloc(8)
  sizes.writeUInt32BE(4, 0)
  sizes.writeUInt32BE(head.length, 4)
  fake.send(Buffer.concat([sizes, head, Buffer.from('picture')]))
  fake.send({ type: 'crystools.monitor', data: { cpu: 1 } })
  await until(() => events.some(event => event.type === 'preview'))
  await until(() => observer.listed(id)?.listed === true)
  t.ok((observer.listed(id)?.ageMs ?? 1e9) < 1000)
  fake.tell('progress_state', id, states(['2', 'finished', 4], ['3', 'running', 0]))
  fake.tell('executing', id, { node: '3', display_node: '3' })
  fake.tell('executed', id, { node: '3', display_node: '3', output: files[3] })
  fake.finish(id, entryOf(id, files))
  fake.tell('executing', id, { node: null })
  t.match(await verdict, { kind: 'succeeded', entry: { outputs: files }, websocketImages: [] })
  t.same(
    events.map(event => event.type).filter((type, at, all) => type !== all[at - 1]),
    [
      'started',
      'cached',
      'executing',
      'progress',
      'preview',
      'progress',
      'executing',
      'progress',
      'executed',
      'progress'
    ]
  )
  const percents = events.flatMap(event => (event.type === 'progress' ? [event.percent] : []))
  t.equal(percents.at(-1), 99)
  t.match(
    events.find(event => event.type === 'progress' && event.value === 2),
    { percent: 25, graphNode: '2', classType: 'ImageInvert', max: 4 }
  )
  t.match(observer.state(), { up: true, version: '0.3.64', foreign: 0, restarts: 0 })
})

t.test('an image that comes only over the WebSocket is a result, even without its prompt id', async t => {
  const { fake, run, posted, events } = await setUp(t)
  const verdict = run()
  await posted()
  fake.start(id)
  fake.tell('executing', id, { node: '3' })
  fake.state.running = []
  fake.state.history[id] = entryOf(id, {})
  await until(() => fake.calls.filter(call => call.url.startsWith('/history/')).length > 1)
  fake.send(Buffer.from([0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3]))
  fake.tell('executing', id, { node: null })
  t.match(await verdict, {
    kind: 'succeeded',
    websocketImages: [{ graphNode: '3', mediaType: 'image/png', bytes: Buffer.from([1, 2, 3]) }]
  })
  t.equal(
    events.some(event => event.type === 'preview'),
    false
  )
})

t.test('without any event the verdict comes from queue and history, also when history is late', async t => {
  const { fake, run, posted, events } = await setUp(t)
  fake.state.isDeaf = true
  const verdict = run({ patience: { ...patience, vanishedMs: 2000 } })
  await posted()
  fake.start(id)
  await until(() => events.some(event => event.type === 'started'))
  fake.state.running = []
  const misses = fake.calls.length
  await until(() => fake.calls.slice(misses).filter(call => call.url.startsWith('/history/')).length > 1)
  fake.state.history[id] = entryOf(id, files)
  t.match(await verdict, { kind: 'succeeded' })
})

t.test('a deaf socket is replaced under its id, a cut one under a fresh id', async t => {
  const { fake, run, posted, observer } = await setUp(t)
  await observer.ready(5000)
  fake.state.isDeaf = true
  const verdict = run()
  await posted()
  fake.start(id)
  await until(() => fake.greeted.length === 2)
  fake.state.isDeaf = false
  await until(() => observer.isHearing)
  fake.cut()
  await until(() => observer.clientId !== 'node' && observer.isHearing)
  t.same(fake.greeted, ['node', 'node', observer.clientId])
  fake.finish(id, entryOf(id, files))
  t.match(await verdict, { kind: 'succeeded' })
})

t.test('a socket that does not even answer pings is replaced under a fresh id', async t => {
  const { fake, observer } = await setUp(t, { pingMs: 30, silentMs: 150 })
  await observer.ready(5000)
  fake.freeze()
  await until(() => fake.greeted.length === 2)
  t.same(fake.greeted, ['node', observer.clientId])
  t.not(observer.clientId, 'node')
})

t.test('a message beyond the limit costs the connection, not the prompt', async t => {
  const { fake, run, posted, observer } = await setUp(t, { maxMessageBytes: 10_000 })
  const verdict = run()
  await posted()
  fake.start(id)
  fake.tell('executed', id, { node: '3', output: { text: ['x'.repeat(20_000)] } })
  await until(() => observer.clientId !== 'node')
  fake.finish(id, entryOf(id, files))
  t.match(await verdict, { kind: 'succeeded' })
})

t.test('500 to the POST is not a refusal: the queue decides', async t => {
  const { fake, run, posted } = await setUp(t)
  fake.state.handle = ({ method, url, body }, response) => {
    if (method !== 'POST' || url !== '/prompt') return false
    if (body.toString().includes('queued')) fake.state.pending.push(id)
    response.writeHead(500).end('500 Internal Server Error\n\nServer got itself in trouble')
    return true
  }
  const queued = run({ text: () => '"queued"' })
  await posted()
  fake.start(id)
  fake.finish(id, entryOf(id, files))
  t.match(await queued, { kind: 'succeeded' })
  fake.state.history = {}
  t.match(await run({ text: () => '{}' }), { kind: 'lost', reason: 'not-accepted' })
})

t.test('a POST that is never answered does not hold up the verdict', async t => {
  const { fake, run, posted } = await setUp(t)
  fake.state.handle = ({ method, url }) => {
    if (method !== 'POST' || url !== '/prompt') return false
    fake.state.running = [id]
    return true
  }
  const verdict = run()
  await posted()
  fake.finish(id, entryOf(id, files))
  t.match(await verdict, { kind: 'succeeded' })
})

t.test('a refused workflow is rejected, and it is told whose fault that is', async t => {
  const { fake, run } = await setUp(t)
  const answer = (status: number, body: object) => {
    fake.state.handle = ({ method, url }, response) => {
      if (method !== 'POST' || url !== '/prompt') return false
      response.writeHead(status).end(JSON.stringify(body))
      return true
    }
  }
  answer(400, {
    error: { type: 'invalid_prompt', message: 'Cannot execute because node X does not exist.' },
    node_errors: {}
  })
  t.match(await run(), { kind: 'rejected', placement: true, error: { type: 'invalid_prompt' } })
  answer(400, { error: { type: 'prompt_no_outputs' }, node_errors: {} })
  t.match(await run(), { kind: 'rejected', placement: false })
})

t.test('a workflow of which only a part is accepted is rejected and taken back', async t => {
  const { fake, run } = await setUp(t)
  fake.state.handle = ({ method, url }, response) => {
    if (url === '/interrupt') fake.finish(id, entryOf(id, {}, 'execution_interrupted'))
    if (method !== 'POST' || url !== '/prompt') return false
    fake.start(id)
    response.end(JSON.stringify({ prompt_id: id, number: 1, node_errors: { 3: { errors: [] } } }))
    return true
  }
  t.match(await run(), { kind: 'rejected', placement: false, nodeErrors: { 3: {} } })
  await until(() => fake.calls.some(call => call.url === '/interrupt' && call.body.toString().includes(id)))
})

t.test('the last message of history decides between error, interrupt and success', async t => {
  const { fake, run, posted } = await setUp(t)
  const end = async (entry: object) => {
    fake.state.history = {}
    const verdict = run()
    await posted()
    fake.start(id)
    fake.finish(id, entry)
    return verdict
  }
  const failed = {
    node_id: '2',
    node_type: 'KSampler',
    exception_type: 'torch.OutOfMemoryError',
    exception_message: 'Allocation on device 0 for /home/me/ComfyUI/models/x.safetensors\n'
  }
  const error = entryOf(id, {}, 'execution_error', failed)
  t.match(await end({ ...error, status: { ...error.status, status_str: 'success', completed: true } }), {
    kind: 'execution-error',
    graphNode: '2',
    classType: 'KSampler',
    message: 'Allocation on device 0 for …/x.safetensors',
    outOfMemory: true
  })
  t.match(await end(entryOf(id, {}, 'execution_interrupted')), { kind: 'interrupted' })
  const blocked = entryOf(id, files)
  blocked.status.messages.splice(2, 0, ['execution_error', { prompt_id: id, exception_type: 'ExecutionBlocked' }])
  t.match(await end(blocked), { kind: 'succeeded' })
})

t.test('a prompt that is gone is lost, a dead worker and a silent one are stuck', async t => {
  const { fake, run, posted } = await setUp(t)
  const vanished = run()
  await posted()
  fake.state.pending = []
  t.match(await vanished, { kind: 'lost', reason: 'vanished' })
  t.match(await run(), { kind: 'stuck', reason: 'dead-worker' })
  fake.start(id)
  t.match(await run({ text: () => '{}' }), { kind: 'stuck', reason: 'silent' })
})

t.test('a killed ComfyUI and a restarted one lose the prompt, and the observer tells', async t => {
  const { fake, run, posted, observer } = await setUp(t)
  const changes: string[] = []
  observer.on(change => changes.push(change))
  const died = run()
  await posted()
  await fake.stop()
  t.match(await died, { kind: 'lost', reason: 'died' })
  await until(() => changes.includes('down'))
  t.match(await run(), { kind: 'lost', reason: 'unreachable' })
  await fake.restart()
  await until(() => changes.includes('restarted'))
  t.equal(observer.state().restarts, 1)
  const restarted = run({ patience: { ...patience, refusedMs: 60_000 } })
  await posted()
  await fake.stop()
  await until(() => changes.filter(change => change === 'down').length === 2)
  await fake.restart()
  t.match(await restarted, { kind: 'lost', reason: 'restart' })
  t.same(changes.slice(0, 4), ['up', 'down', 'restarted', 'up'])
})

t.test('a ComfyUI that answers nothing any more is unreachable in the end', async t => {
  const { fake, run, posted } = await setUp(t)
  const verdict = run()
  await posted()
  fake.state.handle = () => true
  t.match(await verdict, { kind: 'lost', reason: 'unreachable' })
})

t.test('following ends when time is up or when it is given up', async t => {
  const { fake, run, posted } = await setUp(t)
  const late = run({ timeoutMs: 300 })
  await posted()
  fake.start(id)
  t.same(await late, { kind: 'timed-out' })
  const stop = new AbortController()
  const abandoned = run({ signal: stop.signal })
  await posted()
  stop.abort()
  t.same(await abandoned, { kind: 'abandoned' })
  t.same(await run({ signal: stop.signal }), { kind: 'abandoned' })
})

t.test('a prompt of an earlier process is adopted if ComfyUI knows it', async t => {
  const { fake, deps, order } = await setUp(t)
  t.equal(await adoptPrompt(deps, order, () => {}), undefined)
  fake.start(id)
  const adopted = adoptPrompt(deps, order, () => {})
  await until(() => deps.observer.listed(id)?.listed === true)
  fake.finish(id, entryOf(id, files))
  t.match(await adopted, { kind: 'succeeded' })
  t.match(await adoptPrompt(deps, order, () => {}), { kind: 'succeeded' })
})

t.test('prompts of others count as foreign', async t => {
  const { fake, observer } = await setUp(t)
  fake.state.running = ['a']
  fake.state.pending = ['b', 'c']
  await until(() => observer.state().foreign === 3)
  t.match(observer.state(), { queueRemaining: 3, up: true })
})

t.test('a cancel is repeated until the prompt is gone, and touches no other', async t => {
  const { fake, http } = await setUp(t)
  const interrupts: string[] = []
  let isLost = true
  fake.state.handle = ({ url, body }, response) => {
    if (url !== '/interrupt') return false
    interrupts.push(JSON.parse(body.toString()).prompt_id)
    if (!isLost) fake.finish(id, entryOf(id, {}, 'execution_interrupted'))
    isLost = false
    response.end()
    return true
  }
  fake.start(id)
  t.equal(await cancelPrompt({ http }, id, { deadlineMs: 5000 }), 'gone')
  t.same(interrupts, [id, id])
  fake.state.history = {}
  fake.state.running = ['other']
  fake.state.pending = [id, 'another']
  t.equal(await cancelPrompt({ http }, id, { deadlineMs: 5000 }), 'gone')
  t.same([fake.state.running, fake.state.pending, interrupts.length], [['other'], ['another'], 2])
  fake.finish(id, entryOf(id, files))
  t.equal(await cancelPrompt({ http }, id, { deadlineMs: 5000 }), 'finished')
})

t.test('a cancel uses the jobs route where there is one, and gives up at its deadline', async t => {
  const { fake, http } = await setUp(t)
  fake.state.handle = ({ url }, response) => {
    if (!url.startsWith('/api/jobs/')) return false
    response.end('{"cancelled": true}')
    return true
  }
  fake.start(id)
  t.equal(await cancelPrompt({ http }, id, { deadlineMs: 600 }), 'stuck')
  t.ok(fake.calls.some(call => call.url === `/api/jobs/${id}/cancel`))
  t.equal(
    fake.calls.some(call => call.url === '/interrupt'),
    false
  )
})
