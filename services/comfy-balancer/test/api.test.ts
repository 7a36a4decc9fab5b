import { once } from 'node:events'
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import type { Catalog } from '@comfy-balancer/contract/catalog'
import type { TaskEvent } from '@comfy-balancer/contract/event'
import type { Group } from '@comfy-balancer/contract/group'
import { type Problem, problem } from '@comfy-balancer/contract/problem'
import type { SocketNotice } from '@comfy-balancer/contract/socket'
import type { Task, TaskList } from '@comfy-balancer/contract/task'
import type { WebhookDeliveryList } from '@comfy-balancer/contract/webhook'
import { type ObjectStore, StorageError } from '@comfy-balancer/storage/object-store'
import { createHints } from '@comfy-balancer/task-store/hints'
import { aNode, aReport } from '@comfy-balancer/task-store/scratch-node'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { openBalancer } from './balancer.ts'
import { aPicture, pictureBytes, pictureCatalog, pictureOutput } from './picture.ts'

const catalog: Catalog = {
  classes: {
    ...pictureCatalog.classes,
    CheckpointLoaderSimple: { output: false, required: ['ckpt_name'], choices: { ckpt_name: 0 }, uploads: [] },
    Sampler: { output: false, required: ['seed'], choices: {}, uploads: [] },
    LoadImage: { output: false, required: ['image'], choices: {}, uploads: ['image'] }
  },
  lists: [['a.safetensors', 'b.safetensors']],
  modelBytes: {}
}

/** A balancer without its dispatch loops, on a ledger of its own, with one node that the test plays by hand. */
type Opening = {
  withNode?: boolean
  nodeUrl?: string
  keepsOutputs?: boolean
  retentionSeconds?: number
  env?: NodeJS.ProcessEnv
}

const open = async (t: Test, opening: Opening = {}) => {
  const {
    withNode = true,
    nodeUrl = 'http://127.0.0.1:1',
    keepsOutputs = false,
    retentionSeconds = 1,
    env = {}
  } = opening
  const opened: string[] = []
  const store = {
    open: async (path: string, range?: { start: number; end?: number }) => {
      opened.push(path)
      if (path === 'away') throw new StorageError('unavailable', 'S3 does not answer')
      return { stream: Readable.from([pictureBytes.subarray(range?.start ?? 0, (range?.end ?? 9) + 1)]) }
    },
    signedUrl: async (path: string, use: object) => `http://s3.example/${path}?${JSON.stringify(use)}`,
    list: async () => [],
    close: async () => {}
  }
  const { url, ledger, app, connection } = await openBalancer(t, {
    env: { RETENTION_SECONDS: String(retentionSeconds), ...env },
    limits: { keepMs: retentionSeconds * 1_000 },
    store: keepsOutputs ? undefined : (store as unknown as ObjectStore)
  })
  const report = aReport({
    resident: ['a.safetensors'],
    progress: { percent: 37, graphNode: '1', classType: 'EmptyImage', value: 1, max: 3 }
  })
  const node = aNode({ url: nodeUrl, labels: { zone: 'x' }, catalog, files: ['here.png'], report })
  if (withNode) await ledger.nodes.register(node)
  const post = (body: string, headers: Record<string, string> = {}) =>
    fetch(`${url}/api/v1/generate`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', ...headers }
    })
  const accepted = async (body = `{"prompt":${aPicture()}}`): Promise<Task> => {
    const answer = await post(body)
    if (answer.status !== 202) throw new Error(await answer.text())
    return (await answer.json()) as Task
  }
  const claim = (task: string, nonce = 'nonce', predictedSeconds = 1) =>
    ledger.attempts.claim({ node: 'gpu-a', epoch: 'e', task, nonce, predictedSeconds, why: {}, overtakes: [] })
  const beat = (token?: string) => ledger.nodes.heartbeat('gpu-a', 'e', report, 'ready', token)
  /** Resolves when a caller is being held back. */
  const isWaiting = async () => {
    const end = Date.now() + 5_000
    while (app.server.openStreams.size === 0 && Date.now() < end) await new Promise(resolve => setTimeout(resolve, 5))
  }
  const { openStreams } = app.server
  return { url, opened, ledger, isWaiting, connection, post, accepted, claim, beat, node, openStreams }
}

const spent = { gpuSeconds: 1, loadSeconds: 0, executionSeconds: 1, loaded: false }

t.test('a task is accepted, followed and fetched', async t => {
  const { url, ledger, post, claim, beat, isWaiting } = await open(t)
  const body = `{"prompt":${aPicture('18446744073709551615')},"client_id":"me","number":1,"front":true,"prompt_id":"theirs","metadata":{"shotId":1},"priority":80}`
  const answer = await post(body)
  t.equal(answer.status, 202)
  const task = (await answer.json()) as Task
  t.equal(answer.headers.get('location'), `/api/v1/tasks/${task.id}`)
  t.ok(Number(answer.headers.get('retry-after')) >= 1)
  t.match(task, {
    state: 'queued',
    attempt: 0,
    client_id: 'me',
    metadata: { shotId: 1 },
    priority: 80,
    queue: { position: 1 },
    outputs: [],
    error: null,
    node: null
  })
  t.equal(await ledger.tasks.body(task.id), body, 'the text is kept to the last digit')

  const running = fetch(`${url}/api/v1/tasks/${task.id}?wait=20`)
  await isWaiting()
  await claim(task.id)
  await ledger.attempts.start(task.id, 'nonce')
  t.match(
    await (await running).json(),
    { state: 'running', node: 'gpu-a', attempt: 1, progress: { percent: 37, classType: 'EmptyImage' } },
    'a lease shows as queued and does not end the wait'
  )
  await beat('nonce')
  await ledger.attempts.output(task.id, 'nonce', [pictureOutput])
  const early = (await (await fetch(`${url}/api/v1/tasks/${task.id}`)).json()) as Task
  t.match(
    early,
    { state: 'running', outputs: [{ filename: 'x.png', url: `/api/v1/tasks/${task.id}/outputs/1-0` }] },
    'outputs show before the end'
  )
  const ended = fetch(`${url}/api/v1/tasks/${task.id}`, { headers: { prefer: 'respond-async, wait=20' } })
  await isWaiting()
  await ledger.attempts.complete(task.id, 'nonce', [pictureOutput], spent)
  const done = (await (await ended).json()) as Task
  t.match(done, { state: 'succeeded', timings: { executionSeconds: 1 }, progress: { percent: 100 }, queue: null })
  t.ok(done.finishedAt && done.startedAt)

  const file = `${url}${done.outputs[0]?.url}`
  const whole = await fetch(file)
  t.equal(await whole.text(), '0123456789')
  t.equal(whole.headers.get('content-type'), 'image/png')
  t.equal(whole.headers.get('x-content-type-options'), 'nosniff')
  t.equal(whole.headers.get('etag'), '"abc"')
  for (const [range, status, text, where] of [
    ['bytes=2-4', 206, '234', 'bytes 2-4/10'],
    ['bytes=-3', 206, '789', 'bytes 7-9/10'],
    ['bytes=8-', 206, '89', 'bytes 8-9/10'],
    ['bytes=20-', 416, '', 'bytes */10'],
    ['bytes=0-1,4-5', 200, '0123456789', null]
  ] as const) {
    const part = await fetch(file, { headers: { range } })
    t.same([part.status, await part.text(), part.headers.get('content-range')], [status, text, where], range)
  }
  t.equal((await fetch(file, { headers: { 'if-none-match': '"abc"' } })).status, 304)
  t.equal((await fetch(`${url}/api/v1/tasks/${task.id}/outputs/1-7`)).status, 404)
})

t.test('an output is described without being opened, and given by the store itself when the caller asks', async t => {
  const { url, opened, ledger, accepted, claim } = await open(t)
  const task = await accepted()
  await claim(task.id)
  const odd = { ...pictureOutput, index: 1, filename: 'a"b\r\n\ud800 ü\'(1).svg', mediaType: 'image/svg+xml' }
  const away = { ...pictureOutput, index: 2, path: 'away' }
  await ledger.attempts.complete(task.id, 'nonce', [pictureOutput, odd, away], spent)
  const file = `${url}/api/v1/tasks/${task.id}/outputs/1-0`
  const head = await fetch(file, { method: 'HEAD' })
  t.equal(head.status, 200)
  t.equal(head.headers.get('content-length'), '10')
  t.equal(head.headers.get('etag'), '"abc"')
  t.equal(head.headers.get('content-disposition'), `inline; filename="x.png"; filename*=UTF-8''x.png`)
  const part = await fetch(file, { method: 'HEAD', headers: { range: 'bytes=0-1' } })
  t.same([part.status, part.headers.get('content-length')], [206, '2'])
  t.equal((await fetch(file, { headers: { 'if-none-match': '*' } })).status, 304)
  t.same(opened, [], 'none of that opened it')
  for (const [ifRange, text] of [
    ['"abc"', '01'],
    ['"older"', '0123456789']
  ] as const) {
    const answer = await fetch(file, { headers: { range: 'bytes=0-1', 'if-range': ifRange } })
    t.equal(await answer.text(), text, ifRange)
  }
  const moved = await fetch(`${file}?redirect=true`, { redirect: 'manual' })
  t.equal(moved.status, 302)
  t.match(moved.headers.get('location'), /^http:\/\/s3\.example\/p\?.*image\/png.*expiresSeconds.*300/)
  t.equal(moved.headers.get('cache-control'), 'no-store')
  t.equal((await fetch(`${file}?redirect=perhaps`)).status, 400)

  const saved = await fetch(`${url}/api/v1/tasks/${task.id}/outputs/1-1`)
  t.equal(
    saved.headers.get('content-disposition'),
    `attachment; filename="a_b___ ___1_.svg"; filename*=UTF-8''a%22b%0D%0A%EF%BF%BD%20%C3%BC%27%281%29.svg`,
    'a browser saves what could run'
  )
  t.match(saved.headers.get('content-security-policy'), /sandbox/)
  const gone = await fetch(`${url}/api/v1/tasks/${task.id}/outputs/1-2`)
  t.match(await gone.json(), { code: 'output-unavailable', status: 503 })
  t.ok(Number(gone.headers.get('retry-after')) >= 1)
})

t.test('an output that its node keeps is streamed from there, and unavailable while the node is away', async t => {
  const asked: IncomingMessage[] = []
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    asked.push(request)
    if (request.url?.endsWith('1-1')) return void response.writeHead(503).end('{}')
    const isPart = request.headers.range === 'bytes=2-4'
    response.writeHead(isPart ? 206 : 200).end(isPart ? '234' : '0123456789')
  }
  const node = createServer(answer).listen(0, '127.0.0.1')
  await once(node, 'listening')
  t.teardown(() => node.close())
  const nodeUrl = `http://127.0.0.1:${(node.address() as AddressInfo).port}`
  const { url, ledger, accepted, claim } = await open(t, { nodeUrl, keepsOutputs: true })
  const task = await accepted()
  await claim(task.id)
  const kept = { ...pictureOutput, durable: false }
  await ledger.attempts.complete(task.id, 'nonce', [kept, { ...kept, index: 1 }], spent)
  const file = `${url}/api/v1/tasks/${task.id}/outputs/1-0`
  const whole = await fetch(`${file}?redirect=true`, { headers: { authorization: 'Bearer key' } })
  t.equal(await whole.text(), '0123456789', 'there is nowhere to be sent to')
  t.equal(whole.headers.get('content-type'), 'image/png')
  t.match(asked[0], { url: new URL(file).pathname, headers: { authorization: 'Bearer key' } })
  const part = await fetch(file, { headers: { range: 'bytes=2-4' } })
  t.same([part.status, await part.text(), part.headers.get('content-range')], [206, '234', 'bytes 2-4/10'])
  t.equal((await fetch(file, { headers: { 'comfy-balancer-passed-on': '1' } })).status, 503, 'it is passed on once')
  t.equal(asked.length, 2)
  const refused = await fetch(`${url}/api/v1/tasks/${task.id}/outputs/1-1`)
  t.match(await refused.json(), { code: 'output-unavailable' }, 'the node does not have it')
  node.closeAllConnections()
  node.close()
  await once(node, 'close')
  const away = await fetch(file)
  t.match(await away.json(), { code: 'output-unavailable', status: 503 })
  t.ok(Number(away.headers.get('retry-after')) >= 1)
})

t.test('events are sent in order, resume after the last one seen, and end with the task', async t => {
  const { url, ledger, accepted, claim } = await open(t)
  const task = await accepted()
  const stream = fetch(`${url}/api/v1/tasks/${task.id}/events`)
  await claim(task.id)
  await ledger.attempts.start(task.id, 'nonce')
  const response = await stream
  t.match(response.headers.get('content-type'), /^text\/event-stream/)
  await ledger.attempts.retry(task.id, 'nonce', {
    class: 'hand-back',
    exhausted: problem('attempts-exhausted', ''),
    backoffMs: 0
  })
  await claim(task.id, 'second')
  await ledger.attempts.complete(task.id, 'second', [], spent)
  const text = await response.text()
  const events = [...text.matchAll(/^id: (\d+)\nevent: (.+)\ndata: (.+)$/gm)].map(([, id, event, data]) => ({
    id: Number(id),
    event,
    data: JSON.parse(data!)
  }))
  t.same(
    events.map(({ event }) => event),
    ['task.queued', 'task.dispatched', 'task.started', 'task.retried', 'task.dispatched', 'task.succeeded']
  )
  t.same(
    events.map(({ id }) => id),
    [1, 2, 3, 4, 5, 6]
  )
  t.match(events[3]?.data, { reason: 'hand-back', state: 'queued' })
  const rest = await (
    await fetch(`${url}/api/v1/tasks/${task.id}/events`, { headers: { 'last-event-id': '4' } })
  ).text()
  t.same(
    [...rest.matchAll(/^event: (.+)$/gm)].map(([, event]) => event),
    ['task.dispatched', 'task.succeeded']
  )
})

t.test('the events of a group are those of its tasks, resume in each of them, and end with the last', async t => {
  const { url, ledger, post, claim } = await open(t)
  const prompt =
    '{"1":{"class_type":"Sampler","inputs":{"seed":1}},"9":{"class_type":"SaveImage","inputs":{"images":["1",0]}}}'
  const group = (await (await post(`{"count":20,"prompt":${prompt}}`)).json()) as Group
  const { body } = await fetch(url + group.links.events)
  type Seen = { id: string | undefined; type: string; task: string }
  const eventsIn = (text: string): Seen[] =>
    [...text.matchAll(/^(?:id: (.+)\n)?event: (.+)\ndata: (.+)$/gm)].map(([, id, type, data]) => ({
      ...{ id, type: type!, task: (JSON.parse(data!) as TaskEvent).taskId }
    }))
  const read = async (stream: ReadableStream<Uint8Array>, isEnough: (events: Seen[]) => boolean): Promise<Seen[]> => {
    let text = ''
    for await (const part of stream.pipeThrough(new TextDecoderStream())) {
      text += part
      if (isEnough(eventsIn(text))) break
    }
    return eventsIn(text)
  }
  const ids = group.tasks.map(({ id }) => id)
  await claim(ids[3]!)
  await ledger.attempts.complete(ids[3]!, 'nonce', [], spent)
  const first = await read(
    body!,
    events => events.some(({ type }) => type === 'task.succeeded') && events.length === 22
  )
  t.same(new Set(first.map(({ task }) => task)), new Set(ids))
  t.equal(first.at(-1)?.id, '1x3.3.1x16', 'how far this reader is in each of them')

  const resume = async (id: string) => fetch(`${url}${group.links.events}`, { headers: { 'last-event-id': id } })
  const halfway = '1x3.2.1x15.0'
  const rest = resume(halfway)
  await fetch(url + group.links.self, { method: 'DELETE' })
  const seen = await read((await rest).body!, () => false)
  t.equal(seen.at(-1)?.id, '2x3.3.2x16', 'it ended by itself')
  t.same(
    seen.filter(({ task }) => task === ids[3]).map(({ type }) => type),
    ['task.succeeded']
  )
  t.same(
    seen.filter(({ task }) => task === ids[19]).map(({ type }) => type),
    ['task.queued', 'task.cancelled']
  )
  t.equal(seen.length, 18 + 1 + 2, 'nothing twice')
  for (const path of [group.links.events, `/api/v1/tasks/${ids[0]}/events`, '/api/v1/fleet/events']) {
    const { status, headers } = await fetch(url + path, { method: 'HEAD' })
    t.match([status, headers.get('content-type')], [200, /^text\/event-stream/], `${path}: the headers alone`)
  }
  for (const wrong of ['1', '1x21', '1x19.', '.', 'x20', '1x20.1', '99999999999x20']) {
    const answer = await resume(wrong)
    t.match([answer.status, await answer.json()], [400, { errors: [{ pointer: '/headers/last-event-id' }] }], wrong)
  }
})

t.test('a cancel is final; what has ended otherwise cannot be cancelled', async t => {
  const { url, ledger, accepted, claim } = await open(t)
  const remove = (id: string) => fetch(`${url}/api/v1/tasks/${id}`, { method: 'DELETE' })
  const queued = await accepted()
  t.match(await (await remove(queued.id)).json(), { state: 'cancelled' })
  t.equal((await remove(queued.id)).status, 200)
  const running = await accepted()
  await claim(running.id)
  t.match(await (await remove(running.id)).json(), { state: 'cancelled' })
  t.equal(await ledger.attempts.complete(running.id, 'nonce', [], spent), 'terminal')
  await ledger.attempts.release('gpu-a', 'nonce')
  const done = await accepted()
  await claim(done.id)
  await ledger.attempts.complete(done.id, 'nonce', [], spent)
  const refused = await remove(done.id)
  t.equal(refused.status, 409)
  t.match(await refused.json(), { code: 'task-already-finished', detail: /succeeded/ })
  const unknown = `task_${'0'.repeat(32)}`
  t.match(await (await remove(unknown)).json(), { status: 404, code: 'not-found' })
  t.match(await (await fetch(`${url}/api/v1/tasks/${unknown}`)).json(), { status: 404, code: 'not-found' })
  const end = Date.now() + 3_000
  let gone = 0
  while (gone !== 410 && Date.now() < end) gone = (await fetch(`${url}/api/v1/tasks/${queued.id}`)).status
  t.equal(gone, 410, 'after its retention a task is gone')
})

t.test('a failed task is answered with 200 and says whose fault it was', async t => {
  const { url, ledger, accepted, claim } = await open(t)
  const task = await accepted()
  await claim(task.id)
  await ledger.attempts.fail(
    task.id,
    'nonce',
    problem('comfyui-execution-error', 'KSampler: no', { comfyui: { graphNode: '3' } }),
    1
  )
  const answer = await fetch(`${url}/api/v1/tasks/${task.id}`)
  t.equal(answer.status, 200)
  t.match(await answer.json(), {
    state: 'failed',
    error: { code: 'comfyui-execution-error', comfyui: { graphNode: '3' } },
    outputs: []
  })
})

t.test('the same idempotency key gives the same task; another body under it is refused', async t => {
  const { post, ledger } = await open(t)
  const body = `{"prompt":${aPicture()}}`
  const answers = await Promise.all([1, 2, 3].map(() => post(body, { 'idempotency-key': 'k1' })))
  const ids = new Set((await Promise.all(answers.map(answer => answer.json() as Promise<Task>))).map(task => task.id))
  t.equal(ids.size, 1)
  t.equal(answers.filter(answer => answer.headers.get('idempotency-replayed') === 'true').length, 2)
  t.match(await (await post(`{"prompt":${aPicture('1')}}`, { 'idempotency-key': 'k1' })).json(), {
    status: 422,
    code: 'idempotency-key-reused'
  })
  t.equal((await ledger.waiting.backlog()).queuedByTenant.default, 1)
})

t.test('bad input is refused with a problem that names what and where, and nothing is queued', async t => {
  const { url, post, ledger } = await open(t)
  const graph = (nodes: string) => `{"prompt":{${nodes}}}`
  const save = '"9":{"class_type":"SaveImage","inputs":{"images":["1",0]}}'
  const image = '"1":{"class_type":"EmptyImage","inputs":{"width":1,"height":1}}'
  const cases: [what: string, body: string, status: number, code: string, where: RegExp][] = [
    ['no JSON', '{"prompt": ', 400, 'validation-failed', /not JSON/],
    ['empty', '', 400, 'validation-failed', /empty|required|missing/i],
    ['deep', `{"prompt":${'['.repeat(200)}${']'.repeat(200)}}`, 400, 'validation-failed', /deep/],
    [
      'NaN',
      `{"prompt":{"1":{"class_type":"EmptyImage","inputs":{"width":NaN}}}}`,
      400,
      'validation-failed',
      /NaN|JSON/
    ],
    ['duplicate key', graph(`${image},${image}`), 400, 'validation-failed', /"?1"?/],
    ['prompt is a list', '{"prompt":[]}', 400, 'validation-failed', /\/prompt/],
    ['no prompt', '{}', 400, 'validation-failed', /\/prompt/],
    ['unknown field', `{"prompt":${aPicture()},"colour":1}`, 400, 'validation-failed', /\/colour/],
    ['priority', `{"prompt":${aPicture()},"priority":101}`, 400, 'validation-failed', /\/priority|priority/],
    [
      'large metadata',
      `{"prompt":${aPicture()},"metadata":{"a":"${'x'.repeat(5000)}"}}`,
      400,
      'validation-failed',
      /metadata/
    ],
    ['client_id is a list (31d)', `{"prompt":${aPicture()},"client_id":["a"]}`, 400, 'validation-failed', /client_id/],
    [
      'client_id is an object (31e)',
      `{"prompt":${aPicture()},"client_id":{"a":1}}`,
      400,
      'validation-failed',
      /client_id/
    ],
    ['extra_data is null (31b)', `{"prompt":${aPicture()},"extra_data":null}`, 400, 'validation-failed', /extra_data/],
    ['no graph nodes', '{"prompt":{}}', 422, 'workflow-invalid', /\/prompt/],
    [
      'graph node without inputs (31a)',
      graph(`${image},${save},"66":{"class_type":"EmptyImage"}`),
      422,
      'workflow-invalid',
      /\/prompt\/66\/inputs/
    ],
    ['graph node is null', graph(`${image},${save},"66":null`), 422, 'workflow-invalid', /\/prompt\/66/],
    [
      'no class_type',
      graph(`${image},${save},"66":{"inputs":{}}`),
      422,
      'workflow-invalid',
      /\/prompt\/66\/class_type/
    ],
    ['dangling link', graph(save), 422, 'workflow-invalid', /\/prompt\/9\/inputs\/images.*"1"/],
    [
      'cycle',
      graph(
        '"1":{"class_type":"SaveImage","inputs":{"images":["2",0]}},"2":{"class_type":"SaveImage","inputs":{"images":["1",0]}}'
      ),
      422,
      'workflow-invalid',
      /circle/
    ],
    ['no output', graph(image), 422, 'workflow-invalid', /no output/],
    [
      'missing input',
      graph(`"1":{"class_type":"EmptyImage","inputs":{"width":1}},${save}`),
      422,
      'workflow-invalid',
      /height/
    ],
    [
      'unknown class',
      graph(`${image},${save},"5":{"class_type":"Nope","inputs":{}}`),
      422,
      'no-capable-node',
      /\/prompt\/5\/class_type.*Nope/
    ],
    [
      'missing model',
      graph(
        `${image},"2":{"class_type":"CheckpointLoaderSimple","inputs":{"ckpt_name":"c.safetensors"}},"9":{"class_type":"SaveImage","inputs":{"images":["2",0]}}`
      ),
      422,
      'no-capable-node',
      /\/prompt\/2\/inputs\/ckpt_name.*gpu-a has a\.safetensors, b\.safetensors/
    ],
    [
      'missing image',
      graph(`"1":{"class_type":"LoadImage","inputs":{"image":"gone.png"}},${save}`),
      422,
      'no-capable-node',
      /\/prompt\/1\/inputs\/image.*gone\.png.*here\.png/
    ],
    ['unknown label', `{"prompt":${aPicture()},"nodeSelector":{"zone":"y"}}`, 422, 'no-capable-node', /zone/]
  ]
  for (const [what, body, status, code, where] of cases) {
    const answer = await post(body)
    const answered = (await answer.json()) as { detail: string; code: string; errors?: { pointer: string }[] }
    t.same([answer.status, answered.code], [status, code], what)
    t.match(answer.headers.get('content-type'), /^application\/problem\+json/, what)
    t.match(
      JSON.stringify([answered.detail, answered.errors]).replaceAll('\\"', '"'),
      where,
      `${what}: ${answered.detail}`
    )
  }
  t.equal((await post('{}', { 'content-type': 'text/plain' })).status, 415)
  t.equal((await post(`{"prompt":"${'x'.repeat(11_000_000)}"}`)).status, 413)
  t.equal((await post(`{"prompt":${aPicture()}}`, { 'idempotency-key': 'with space' })).status, 400)
  for (const [method, path, status] of [
    ['PUT', '/api/v1/generate', 405],
    ['GET', '/api/v1/generate', 405],
    ['POST', '/api/v1/tasks/x', 405],
    ['GET', '/api/v1/tasks/../../etc/passwd', 404],
    ['GET', '/api/v1/tasks/not-an-id', 400],
    ['GET', '/api/v1/tasks?limit=0', 400],
    ['GET', '/api/v1/tasks?cursor=bogus', 400],
    ['GET', '/nowhere', 404]
  ] as const) {
    const answer = await fetch(`${url}${path}`, { method })
    t.equal(answer.status, status, `${method} ${path}`)
    t.match(answer.headers.get('content-type'), /^application\/problem\+json/)
  }
  t.same((await ledger.waiting.backlog()).queuedByTenant, {})
})

t.test('count gives a group: so many tasks with a seed each, followed and cancelled together', async t => {
  const { url, ledger, post, claim } = await open(t, { retentionSeconds: 60 })
  const body = `{"prompt":{"3":{"class_type":"Sampler","inputs":{"seed":1,"noise_seed":1,"big":18446744073709551615}},"9":{"class_type":"SaveImage","inputs":{"images":["3",0]}}},"count":3,"metadata":{"shotId":7}}`
  const answer = await post(body, { 'idempotency-key': 'g1' })
  t.equal(answer.status, 202)
  const group = (await answer.json()) as Group
  t.equal(answer.headers.get('location'), `/api/v1/groups/${group.id}`)
  t.match(group, { total: 3, counts: { queued: 3, running: 0, gone: 0 }, percent: 0, finishedAt: null })
  t.ok(group.tasks.every(task => task.group === group.id && task.metadata.shotId === 7))
  const seeds = group.tasks.map(({ seed }) => seed)
  t.equal(new Set(seeds).size, 3)
  for (const task of group.tasks) {
    const text = await ledger.tasks.body(task.id)
    t.match(text, `"seed":${task.seed},"noise_seed":${task.seed},"big":18446744073709551615`)
  }
  const again = await post(body, { 'idempotency-key': 'g1' })
  t.equal(again.headers.get('idempotency-replayed'), 'true')
  t.same(
    ((await again.json()) as Group).tasks.map(({ seed }) => seed),
    seeds,
    'the same group, with the same seeds'
  )
  t.equal((await ledger.waiting.backlog()).queuedByTenant.default, 3)

  const [first, second] = group.tasks as [Task, Task]
  await claim(first.id)
  await ledger.attempts.complete(first.id, 'nonce', [pictureOutput], spent)
  const read = async (path: string) => (await (await fetch(`${url}${path}`)).json()) as Group
  t.match(await read(group.links.self), { counts: { succeeded: 1, queued: 2 }, percent: 33, finishedAt: null })
  const page = (await (await fetch(`${url}${group.links.tasks}&limit=2`)).json()) as TaskList
  t.same(
    page.data.map(({ id }) => id),
    group.tasks
      .slice(1)
      .map(({ id }) => id)
      .reverse()
  )
  const rest = (await (await fetch(`${url}${group.links.tasks}&cursor=${page.nextCursor}`)).json()) as TaskList
  t.same([rest.data.map(({ id }) => id), rest.nextCursor], [[first.id], null])

  const cancelled = await fetch(`${url}${group.links.self}`, { method: 'DELETE' })
  t.match(
    [cancelled.status, await cancelled.json()],
    [200, { counts: { succeeded: 1, cancelled: 2 }, percent: 100, finishedAt: /Z$/ }]
  )
  t.match(await read(`/api/v1/tasks/${second.id}`), { state: 'cancelled' })
  t.equal((await fetch(`${url}${group.links.self}`, { method: 'DELETE' })).status, 200)
  t.equal((await fetch(`${url}/api/v1/groups/group_${'0'.repeat(32)}`)).status, 404)
})

t.test(
  '10,000 tasks at once: whole groups are accepted up to the limit, and every other one is told that the queue is full',
  async t => {
    const { url, ledger, post, claim, beat } = await open(t, { retentionSeconds: 60, env: { MAX_QUEUED: '9050' } })
    const body = `{"prompt":{"3":{"class_type":"Sampler","inputs":{"seed":1}},"9":{"class_type":"SaveImage","inputs":{"images":["3",0]}}},"count":100}`
    const answers = await Promise.all(
      Array.from({ length: 100 }, async () => {
        const answer = await post(body)
        return { status: answer.status, body: (await answer.json()) as Group & Problem }
      })
    )
    const accepted = answers.filter(({ status }) => status === 202)
    const refused = answers.filter(({ status }) => status !== 202)
    t.equal(accepted.length, 90)
    t.ok(refused.every(({ status, body }) => status === 503 && body.code === 'queue-full'))
    t.equal(new Set(accepted.flatMap(({ body }) => body.tasks.map(({ id }) => id))).size, 9_000)
    t.same((await ledger.waiting.backlog()).queuedByTenant, { default: 9_000 })
    const look = await ledger.waiting.look([])
    t.equal(look.waiting, 9_000)
    t.ok(look.candidates.length > 0 && look.candidates.length <= 32, 'a look stays short')
    await beat()
    t.equal(await claim(look.candidates[0]!.id, 'one', 40), 'claimed')
    let seconds = 0
    for (const end = Date.now() + 20_000; seconds <= 30 && Date.now() < end; ) {
      const answer = await post(body)
      t.equal(answer.status, 503)
      seconds = Number(answer.headers.get('retry-after'))
      await pause(100)
    }
    t.ok(seconds > 20 && seconds <= 40, `told when the first that runs is to end: ${seconds}`)
    const { tasks } = accepted[0]!.body
    t.match(await (await fetch(`${url}${tasks[99]!.links.self}`)).json(), { state: 'queued' })
  }
)

t.test('a waiting task tells when its result is due, once its like has run', async t => {
  const { url, ledger, accepted, claim, beat } = await open(t, { retentionSeconds: 60 })
  const first = await accepted()
  t.match(first.queue, { position: 1, etaSeconds: null }, 'nothing is known yet')
  await beat()
  t.equal(await claim(first.id, 'one'), 'claimed')
  await ledger.attempts.complete(first.id, 'one', [], spent)
  await beat()
  t.equal(await claim((await accepted()).id, 'two', 40), 'claimed')
  const waiting = await accepted()
  let eta: number | null | undefined
  for (const end = Date.now() + 20_000; !(eta && eta > 20) && Date.now() < end; ) {
    await beat('two')
    eta = ((await (await fetch(`${url}${waiting.links.self}`)).json()) as Task).queue?.etaSeconds
    await pause(100)
  }
  t.ok(eta && eta > 20 && eta <= 41, `after the attempt at work, and its own second: ${eta}`)
})

t.test('the trace of a request is kept with its task; a header that names none is no error', async t => {
  const { ledger, post } = await open(t)
  const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
  const traceOf = async (traceparent: string) => {
    const answer = await post(`{"prompt":${aPicture()}}`, { traceparent })
    t.equal(answer.status, 202)
    return (await ledger.tasks.find(((await answer.json()) as Task).id))?.traceId
  }
  t.equal(await traceOf(`00-${trace}-00f067aa0ba902b7-01`), trace)
  t.equal(await traceOf(`cc-${trace}-00f067aa0ba902b7-01-of-a-later-version`), trace)
  for (const none of ['', `ff-${trace}-00f067aa0ba902b7-01`, `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`, 'abc'])
    t.equal(await traceOf(none), undefined, none)
})

t.test('a group whose tasks are past their retention is gone', async t => {
  const { url, post } = await open(t)
  const group = (await (await post(`{"requests":[{"prompt":${aPicture()}}]}`)).json()) as Group
  await fetch(`${url}${group.links.self}`, { method: 'DELETE' })
  const end = Date.now() + 10_000
  let status = 0
  while (status !== 410 && Date.now() < end) status = (await fetch(`${url}${group.links.self}`)).status
  t.equal(status, 410)
})

t.test('a list of requests gives a group; each starts from what stands beside the list', async t => {
  const { ledger, post } = await open(t)
  const shots = `[{"prompt":${aPicture('18446744073709551615')},"metadata":{"shotId":1}},{"prompt":${aPicture('2')},"priority":10}]`
  const answer = await post(`{"requests":${shots},"priority":90,"client_id":"us","metadata":{"film":"x"}}`)
  const group = (await answer.json()) as Group
  t.equal(answer.status, 202)
  t.match(group.tasks, [
    { priority: 90, client_id: 'us', metadata: { shotId: 1 }, seed: null },
    { priority: 10, client_id: 'us', metadata: { film: 'x' } }
  ])
  const [first] = group.tasks
  t.match(await ledger.tasks.body(first!.id), '"color":18446744073709551615')
  t.match(
    await (await post(`{"requests":[{"prompt":${aPicture()}}]}`, { prefer: 'wait=0' })).json(),
    { total: 1 },
    'a list of one is a group of one'
  )

  const refused = async (body: string) => (await (await post(body)).json()) as Problem
  t.match(await refused(`{"requests":[{"prompt":${aPicture()}},{"prompt":{"1":{"class_type":"No","inputs":{}}}}]}`), {
    code: 'no-capable-node',
    detail: /^\/requests\/1\/prompt\/1\/class_type: /,
    errors: [{ pointer: '/requests/1/prompt/1/class_type' }]
  })
  t.match(await refused(`{"requests":[{"metadata":{}}]}`), { status: 400, errors: [{ pointer: '/requests/0/prompt' }] })
  t.match(await refused('{"requests":[]}'), { status: 400, errors: [{ pointer: '/requests' }] })
  t.match(await refused(`{"requests":[{"requests":[]}]}`), { errors: [{ pointer: '/requests/0/requests' }] })
  t.match(await refused(`{"prompt":${aPicture()},"count":3}`), {
    status: 400,
    errors: [{ pointer: '/count', code: 'no-seed' }]
  })
  t.match(await refused(`{"prompt":${aPicture()},"count":0}`), { status: 400, errors: [{ pointer: '/count' }] })
  t.match(await refused(`{"prompt":${aPicture()},"count":101}`), { errors: [{ pointer: '/count', code: 'too-many' }] })
  t.match(await refused(`{"requests":[${Array(101).fill(`{"prompt":${aPicture()}}`)}]}`), {
    errors: [{ pointer: '/requests/100', code: 'too-many' }]
  })
  t.equal((await ledger.waiting.backlog()).queuedByTenant.default, 3, 'what was refused left nothing behind')
})

t.test('without a node the fleet is unavailable; a known node that is down keeps the task waiting', async t => {
  const { post } = await open(t, { withNode: false })
  const answer = await post(`{"prompt":${aPicture()}}`)
  t.equal(answer.status, 503)
  t.ok(answer.headers.get('retry-after'))
  t.match(await answer.json(), { code: 'fleet-unavailable' })
  const { accepted, ledger } = await open(t)
  await ledger.nodes.suspect('gpu-a', 'e')
  t.match(await accepted(), { state: 'queued' })
})

t.test('lists page through all tasks, newest first, and filter by state', async t => {
  const { url, accepted } = await open(t)
  const ids: string[] = []
  for (let i = 0; i < 7; i++) ids.unshift((await accepted()).id)
  await fetch(`${url}/api/v1/tasks/${ids[3]}`, { method: 'DELETE' })
  const seen: string[] = []
  let cursor: string | null = ''
  while (cursor !== null) {
    const page = (await (await fetch(`${url}/api/v1/tasks?limit=3${cursor ? `&cursor=${cursor}` : ''}`)).json()) as {
      data: Task[]
      nextCursor: string | null
    }
    seen.push(...page.data.map(task => task.id))
    cursor = page.nextCursor
  }
  t.same(seen, ids)
  const cancelled = (await (await fetch(`${url}/api/v1/tasks?state=cancelled`)).json()) as { data: Task[] }
  t.same(
    cancelled.data.map(task => task.id),
    [ids[3]]
  )
})

t.test('nodes, fleet, probes and the API document', async t => {
  const { url, accepted, claim } = await open(t)
  const task = await accepted()
  await accepted()
  await claim(task.id)
  const { data } = (await (await fetch(`${url}/api/v1/nodes`)).json()) as { data: object[] }
  t.match(data, [
    {
      id: 'gpu-a',
      state: 'ready',
      labels: { zone: 'x' },
      models: ['a.safetensors', 'b.safetensors'],
      resident: ['a.safetensors'],
      attempt: { task: task.id, progress: { percent: 37 } },
      comfyui: { up: true, version: '0.3.64' }
    }
  ])
  t.match(await (await fetch(`${url}/api/v1/nodes/gpu-a`)).json(), { id: 'gpu-a' })
  t.equal((await fetch(`${url}/api/v1/nodes/gpu-z`)).status, 404)
  t.match(await (await fetch(`${url}/api/v1/fleet`)).json(), {
    nodes: { ready: 1 },
    queued: 1,
    running: 1,
    queuedByTenant: { default: 1 }
  })
  t.equal((await fetch(`${url}/livez`)).status, 200)
  t.equal((await fetch(`${url}/readyz`)).status, 200)
  t.match(await (await fetch(`${url}/docs/`)).text(), /swagger/i)
  const document = (await (await fetch(`${url}/openapi.json`)).json()) as {
    openapi: string
    paths: object
    components: { schemas: object }
  }
  t.match(document.openapi, /^3\.1/)
  t.ok(
    ['/api/v1/generate', '/api/v1/tasks/{id}', '/api/v1/tasks/{id}/events', '/api/v1/nodes', '/api/v1/fleet'].every(
      path => path in document.paths
    )
  )
  t.ok('Task' in document.components.schemas && 'Problem' in document.components.schemas)
})

t.test('operators drain and resume a node', async t => {
  const { url, accepted, claim } = await open(t)
  const turn = async (what: string) => (await fetch(`${url}/api/v1/nodes/gpu-a/${what}`, { method: 'POST' })).json()
  const { id } = await accepted()
  for (const _ of [1, 2]) t.match(await turn('drain'), { id: 'gpu-a', state: 'draining' })
  t.equal(await claim(id), 'not-ready')
  t.match(await turn('resume'), { state: 'ready', quarantine: null })
  t.equal(await claim(id), 'claimed')
  for (const what of ['drain', 'restart']) {
    const unknown = await fetch(`${url}/api/v1/nodes/nobody/${what}`, { method: 'POST' })
    t.match([unknown.status, await unknown.json()], [404, { code: 'not-found', detail: 'There is no node nobody' }])
  }
})

t.test('operators have a node restart its ComfyUI, if its comfy-service can', async t => {
  const { url, ledger, node, accepted, claim } = await open(t)
  const ask = () => fetch(`${url}/api/v1/nodes/gpu-a/restart`, { method: 'POST' })
  const { id } = await accepted()
  const refused = await ask()
  t.match([refused.status, await refused.json()], [409, { code: 'comfyui-not-owned', detail: /set COMFYUI_COMMAND/ }])
  const care = { owned: true, state: 'well' as const, reason: null, restarts: 0 }
  const beat = (more: object = {}) => {
    const report = { ...node.report, comfyui: { ...node.report.comfyui, care: { ...care, ...more } } }
    return ledger.nodes.heartbeat('gpu-a', node.epoch, report, 'ready', undefined)
  }
  await beat()
  const taken = await ask()
  t.match([taken.status, await taken.json()], [202, { state: 'draining', restarting: true, comfyui: { care } }])
  t.equal(await claim(id), 'not-ready')
  const order = await beat()
  await ledger.nodes.restarted('gpu-a', order.kind === 'restart' ? order.wish : '')
  const seen = async () => (await fetch(`${url}/api/v1/nodes/gpu-a`)).json()
  t.match(await seen(), { state: 'ready', restarting: false })
  await beat({ state: 'failed', reason: 'the warm-up workflow failed: no' })
  t.match(await seen(), { state: 'down', comfyui: { up: true, care: { reason: 'the warm-up workflow failed: no' } } })
})

t.test('a workflow that takes ComfyUI down on several nodes is refused until an operator lifts that', async t => {
  const { url, ledger, node, post, accepted } = await open(t)
  await ledger.nodes.register({ ...node, id: 'gpu-b', url: 'http://127.0.0.1:2' })
  const deadly = `{"prompt":${aPicture('13')}}`
  const { id } = await accepted(deadly)
  for (const [i, on] of ['gpu-a', 'gpu-b', 'gpu-a', 'gpu-b'].entries()) {
    await ledger.attempts.claim({
      node: on,
      epoch: 'e',
      task: id,
      nonce: `${i}`,
      predictedSeconds: 1,
      why: {},
      overtakes: []
    })
    const exhausted = problem('attempts-exhausted', 'it took several nodes down')
    await ledger.attempts.retry(id, `${i}`, { class: 'comfyui-died', exhausted, backoffMs: 0 })
  }
  const refused = await post(deadly)
  t.match(
    [refused.status, await refused.json()],
    [422, { code: 'workflow-quarantined', errors: [{ pointer: '/prompt' }] }]
  )
  t.equal((await post(`{"prompt":${aPicture('14')}}`)).status, 202, 'another workflow is not')

  const listed = (await (await fetch(`${url}/api/v1/quarantine`)).json()) as { data: { fingerprint: string }[] }
  t.match(listed.data, [{ tenant: 'default', task: id, nodes: ['gpu-a', 'gpu-b'] }])
  const lift = (fingerprint: string) => fetch(`${url}/api/v1/quarantine/${fingerprint}`, { method: 'DELETE' })
  t.equal((await lift('0'.repeat(32))).status, 404)
  const lifted = await lift(listed.data[0]!.fingerprint)
  t.match([lifted.status, await lifted.json()], [200, { data: [] }])
  t.equal((await post(deadly)).status, 202)
})

t.test('when the ledger is away the answer is an honest 503', async t => {
  const { url, connection } = await open(t)
  connection.commands.disconnect()
  for (const path of ['/api/v1/fleet', '/api/v1/nodes', '/api/v1/tasks', `/api/v1/tasks/task_${'0'.repeat(32)}`]) {
    const answer = await fetch(`${url}${path}`)
    t.match([answer.status, await answer.json()], [503, { code: 'fleet-unavailable' }], path)
    t.ok(answer.headers.get('retry-after'))
  }
  t.equal((await fetch(`${url}/livez`)).status, 200)
  t.equal((await fetch(`${url}/readyz`)).status, 503)
})

t.test(
  'a webhook is taken with its events or refused; its deliveries are listed and repeated, its secret is shown once',
  async t => {
    const { url, ledger, post, accepted } = await open(t)
    const withWebhook = (webhook: unknown) => `{"prompt":${aPicture()},"webhook":${JSON.stringify(webhook)}}`
    const refused: [webhook: unknown, status: number, pointer: string][] = [
      [{ url: 'http://127.0.0.1/x' }, 422, '/webhook/url'],
      [{ url: 'http://[::ffff:169.254.169.254]/' }, 422, '/webhook/url'],
      [{ url: 'https://a:b@example.com/' }, 422, '/webhook/url'],
      [{ url: 'https://example.com:22/' }, 422, '/webhook/url'],
      [{ url: 'file:///etc/passwd' }, 422, '/webhook/url'],
      [{ url: 'nonsense' }, 422, '/webhook/url'],
      [{ url: '' }, 400, '/webhook/url'],
      [{ url: `https://example.com/${'x'.repeat(3_000)}` }, 400, '/webhook/url'],
      [{ url: 'https://example.com/', events: ['task.progress'] }, 400, '/webhook/events/0'],
      [{ url: 'https://example.com/', events: [] }, 400, '/webhook/events'],
      [{ url: 'https://example.com/', events: ['task.failed', 'task.failed'] }, 400, '/webhook/events'],
      [{ url: 'https://example.com/', secret: 'x' }, 400, '/webhook/secret'],
      [{ events: ['task.failed'] }, 400, '/webhook/url']
    ]
    for (const [webhook, status, pointer] of refused) {
      const answer = await post(withWebhook(webhook))
      t.match(
        [answer.status, await answer.json()],
        [status, { errors: [{ pointer }] }],
        JSON.stringify(webhook).slice(0, 90)
      )
    }
    t.same(await ledger.deliveries.outbox(10), [])

    const two = await accepted(
      withWebhook({ url: 'https://example.com/hook', events: ['task.queued', 'task.cancelled'] })
    )
    const one = await accepted(withWebhook({ url: 'https://example.com/hook' }))
    for (const { id } of [two, one]) await fetch(`${url}/api/v1/tasks/${id}`, { method: 'DELETE' })
    const owed = await ledger.deliveries.outbox(10)
    t.match(owed, [
      { event: { taskId: two.id, type: 'task.queued', version: 1 } },
      { event: { taskId: two.id, type: 'task.cancelled', version: 2 }, url: 'https://example.com/hook' },
      { event: { taskId: one.id, type: 'task.cancelled' }, tenant: 'default' }
    ])
    for (const entry of owed) {
      if (entry.kind !== 'event') continue
      const { event, tenant } = entry
      const delivery = { task: event.taskId, version: event.version, tenant, url: entry.url, body: '{}' }
      await ledger.deliveries.owe({ ...delivery, type: event.type as 'task.queued' })
      await ledger.deliveries.removeFromOutbox(entry)
    }
    const list = async (query: string) => (await fetch(`${url}/api/v1/webhook-deliveries?${query}`)).json()
    const page = (await list('limit=2')) as WebhookDeliveryList
    t.same(
      page.data.map(({ id }) => id),
      [`${one.id}-2`, `${two.id}-2`]
    )
    t.match(await list(`limit=2&cursor=${page.nextCursor}`), { data: [{ id: `${two.id}-1` }], nextCursor: null })
    t.match(await list(`task=${two.id}`), { data: [{ version: 2 }, { version: 1 }], nextCursor: null })
    t.match(await list(`cursor=${Buffer.from('v1 x').toString('base64url')}`), { code: 'validation-failed' })

    const failed = (await ledger.deliveries.find(`${two.id}-1`, 'default'))!
    await ledger.deliveries.tried(failed, { outcome: 'failed', status: 500, error: 'the receiver answered 500' })
    t.match(await list('state=failed'), { data: [{ id: failed.id, tries: 1, status: 500, nextTryAt: null }] })
    const again = (id: string) => fetch(`${url}/api/v1/webhook-deliveries/${id}/redeliver`, { method: 'POST' })
    const repeated = await again(failed.id)
    t.match([repeated.status, await repeated.json()], [202, { state: 'pending', tries: 0, type: 'task.queued' }])
    t.match(await ledger.deliveries.outbox(10), [{ kind: 'again', task: two.id }])
    t.equal((await again(`${one.id}-9`)).status, 404)
    t.equal((await again('nonsense')).status, 400)

    const put = async (body: unknown) => {
      const headers = { 'content-type': 'application/json' }
      const answer = await fetch(`${url}/api/v1/webhook-secret`, { method: 'PUT', headers, body: JSON.stringify(body) })
      return [answer.status, await answer.json()] as [number, Record<string, string | null>]
    }
    const [, first] = await put({})
    t.match(first.secret, /^whsec_[A-Za-z0-9+/]{43}=$/)
    t.equal(first.formerValidUntil, null)
    const [, second] = await put({ overlapSeconds: 60 })
    t.not(second.secret, first.secret)
    t.ok(Date.parse(second.formerValidUntil!) > Date.now() + 30_000)
    t.same((await ledger.webhookSecrets.current('default')).sort(), [first.secret!, second.secret!].sort())
    t.equal((await put({ secret: 'short' }))[0], 400)
  }
)

type Said = TaskEvent | SocketNotice

/** A WebSocket of the API: what it was told, and a way to wait for it. */
const connectSocket = async (t: Test, url: string, headers: Record<string, string> = {}) => {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/v1/ws`, { headers })
  t.teardown(() => socket.terminate())
  const said: Said[] = []
  socket.on('message', data => said.push(JSON.parse(String(data))))
  await once(socket, 'open')
  const say = (message: unknown) => socket.send(typeof message === 'string' ? message : JSON.stringify(message))
  const about = (task: string) => said.filter(message => message.taskId === task)
  const types = (task: string) => about(task).map(({ type }) => type)
  return { socket, said, say, about, types }
}

const eventually = async (what: string, look: () => unknown): Promise<void> => {
  const end = Date.now() + 60_000
  while (!(await look())) {
    if (Date.now() > end) throw new Error(`never: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

t.test('one socket tells of many tasks, from where each was left off, until they end', async t => {
  const { url, ledger, accepted, claim } = await open(t)
  const [one, two, three] = [await accepted(), await accepted(), await accepted()]
  const { say, said, about, types } = await connectSocket(t, url)
  for (const { id } of [one, two]) say({ type: 'subscribe', taskId: id })
  await eventually('both are followed', () => said.length === 4)
  await claim(one.id)
  await ledger.attempts.start(one.id, 'nonce')
  await ledger.tasks.cancel(two.id, 'default')
  await ledger.attempts.complete(one.id, 'nonce', [], spent)
  await eventually('both have ended', () => [one, two].every(({ id }) => types(id).at(-1) === 'ended'))
  t.same(types(two.id), ['subscribed', 'task.queued', 'task.cancelled', 'ended'])
  t.same(types(one.id), ['subscribed', 'task.queued', 'task.dispatched', 'task.started', 'task.succeeded', 'ended'])
  t.match(about(one.id)[2], { version: 2, node: 'gpu-a', state: 'queued' })

  said.length = 0
  say({ type: 'subscribe', taskId: one.id, after: 3 })
  say({ type: 'subscribe', taskId: three.id, after: 1 })
  say({ type: 'unsubscribe', taskId: three.id })
  await eventually('all is answered', () => types(three.id).at(-1) === 'unsubscribed' && types(one.id).length === 3)
  await ledger.tasks.cancel(three.id, 'default')
  say({ type: 'subscribe', taskId: three.id, after: 2 })
  await eventually('the end of the third is known', () => types(three.id).at(-1) === 'ended')
  t.same(types(one.id), ['subscribed', 'task.succeeded', 'ended'])
  t.same(types(three.id), ['subscribed', 'unsubscribed', 'subscribed', 'ended'])
})

t.test('what is wrong with a message is answered with a problem, and the socket goes on', async t => {
  const { url, accepted, openStreams } = await open(t)
  const { say, said, socket } = await connectSocket(t, url)
  const unknown = `task_${'0'.repeat(32)}`
  const wrong: [message: unknown, taskId: string | null, code: string][] = [
    ['no JSON', null, 'validation-failed'],
    [[], null, 'validation-failed'],
    [{ type: 'subscribe' }, null, 'validation-failed'],
    [{ type: 'subscribe', taskId: 'task_1' }, null, 'validation-failed'],
    [{ type: 'subscribe', taskId: unknown, after: -1 }, null, 'validation-failed'],
    [{ type: 'subscribe', taskId: unknown, more: 1 }, null, 'validation-failed'],
    [{ type: 'subscribe', taskId: unknown }, unknown, 'not-found']
  ]
  for (const [message] of wrong) say(message)
  await eventually('all are answered', () => said.length === wrong.length)
  for (const [index, [, taskId, code]] of wrong.entries())
    t.match(said[index], { type: 'error', taskId, problem: { code } })
  const { id } = await accepted()
  say({ type: 'subscribe', taskId: id })
  await eventually('it goes on', () => said.at(-1)?.type === 'task.queued')
  say('x'.repeat(10_000))
  const [code] = await once(socket, 'close')
  t.equal(code, 1009, 'a message too long ends it')
  await eventually('nothing of it is left', () => openStreams.size === 0)
})

t.test('a page of another origin is not let in; what is no WebSocket is answered as HTTP', async t => {
  const { url } = await open(t)
  const refused = new WebSocket(`${url.replace('http', 'ws')}/api/v1/ws`, { origin: 'https://evil.example' })
  const [error] = (await once(refused, 'error').catch(error => [error])) as [Error]
  t.match(error.message, /403/)
  const { socket } = await connectSocket(t, url, { origin: url })
  t.equal(socket.readyState, WebSocket.OPEN, 'its own may')
  t.match(await (await fetch(`${url}/api/v1/ws`)).json(), { code: 'validation-failed', detail: /WebSocket/ })
  const body = `{"prompt":${aPicture()}}`
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const headers = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQAAP__' }
    const more = { 'content-type': 'application/json', 'content-length': String(body.length) }
    const options = { method: 'POST', headers: { ...headers, ...more } }
    httpRequest(`${url}/api/v1/generate`, options, resolve).on('error', reject).end(body)
  })
  answer.resume()
  t.equal(answer.statusCode, 202, 'a client that offers HTTP/2 is served by HTTP/1.1')
})

t.test('so many may follow and no more; who leaves makes room', async t => {
  const { url, accepted } = await open(t, { env: { MAX_FOLLOWERS: '3' } })
  const { id } = await accepted()
  const stream = `${url}/api/v1/tasks/${id}/events`
  const abort = new AbortController()
  t.equal((await fetch(stream, { signal: abort.signal })).status, 200)
  const { say, said, socket } = await connectSocket(t, url)
  say({ type: 'subscribe', taskId: id })
  await eventually('it follows', () => said.length === 2)
  const full = await fetch(stream)
  t.match([full.status, await full.json()], [429, { code: 'rate-limited' }])
  t.ok(Number(full.headers.get('retry-after')) > 0)
  const late = new WebSocket(`${url.replace('http', 'ws')}/api/v1/ws`)
  t.equal((await once(late, 'close'))[0], 1013)
  socket.close()
  await eventually('there is room again', async () => {
    const again = await fetch(stream, { signal: abort.signal })
    if (again.status !== 200) await again.text()
    return again.status === 200
  })
  abort.abort()
})

t.test('a reader that is slow misses progress and nothing else', async t => {
  const { url, ledger, connection, accepted, claim } = await open(t)
  const { id } = await accepted()
  const hints = await createHints(connection.subscriber, connection.commands, ledger.prefix)
  const { say, about, types, socket } = await connectSocket(t, url)
  say({ type: 'subscribe', taskId: id })
  await eventually('it follows', () => types(id).includes('task.queued'))
  socket.pause()
  await claim(id)
  await ledger.attempts.start(id, 'nonce')
  const sent = 400
  const progress = { percent: 1, graphNode: 'x'.repeat(100_000), classType: null, value: 1, max: 3 }
  for (let i = 0; i < sent; i++) await hints.progress(id, progress)
  await ledger.attempts.complete(id, 'nonce', [], spent)
  socket.resume()
  await eventually('it has caught up', () => types(id).at(-1) === 'ended')
  const told = types(id).filter(type => type === 'task.progress').length
  t.ok(told > 0 && told < sent, `${told} of ${sent}`)
  t.same(
    types(id).filter(type => type !== 'task.progress'),
    ['subscribed', 'task.queued', 'task.dispatched', 'task.started', 'task.succeeded', 'ended']
  )
  t.match(
    about(id).find(({ type }) => type === 'task.progress'),
    { version: 3, state: 'running' }
  )
})

t.test('previews come to those who asked, and are not even sent when nobody did', async t => {
  const { url, ledger, connection, accepted } = await open(t)
  const { id } = await accepted()
  const hints = await createHints(connection.subscriber, connection.commands, ledger.prefix)
  const preview = { graphNode: '3', mediaType: 'image/jpeg', data: 'AAEC' }
  const { say, about, types } = await connectSocket(t, url)
  const plain = await connectSocket(t, url)
  plain.say({ type: 'subscribe', taskId: id })
  const listeners = async () =>
    ((await connection.commands.pubsub('NUMSUB', `${ledger.prefix}preview:${id}`)) as [string, number])[1]
  await eventually('it follows', () => plain.types(id).includes('task.queued'))
  t.equal(await listeners(), 0)
  say({ type: 'subscribe', taskId: id, previews: true })
  const streamed = fetch(`${url}/api/v1/tasks/${id}/events?previews=1`)
  await eventually('somebody listens', async () => (await listeners()) > 0)
  await eventually('it is shown', async () => {
    await hints.preview(id, preview)
    return types(id).includes('task.preview')
  })
  t.match(
    about(id).find(({ type }) => type === 'task.preview'),
    { preview, version: 1, state: 'queued' }
  )
  await ledger.tasks.cancel(id, 'default')
  t.match(await (await streamed).text(), /^event: task\.preview\ndata: .*"mediaType":"image\/jpeg"/m)
  await eventually('both have ended', () => [types(id), plain.types(id)].every(all => all.at(-1) === 'ended'))
  t.notOk(plain.types(id).includes('task.preview'))
  await eventually('nobody listens any more', async () => (await listeners()) === 0)
  t.equal((await fetch(`${url}/api/v1/tasks/${id}/events?previews=2`)).status, 400)
})

t.test('a follower learns what happened while the hints were away as soon as they are back', async t => {
  const { url, ledger, connection, accepted } = await open(t)
  const { id } = await accepted()
  const { say, types } = await connectSocket(t, url)
  say({ type: 'subscribe', taskId: id })
  await eventually('it follows', () => types(id).includes('task.queued'))
  connection.subscriber.disconnect()
  await once(connection.subscriber, 'end')
  await ledger.tasks.cancel(id, 'default')
  const startedMs = performance.now()
  await connection.subscriber.connect()
  await eventually('it has ended', () => types(id).at(-1) === 'ended')
  t.ok(performance.now() - startedMs < 8_000, 'long before the next look by the clock')
})
