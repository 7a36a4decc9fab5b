import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Endpoint } from '@comfy-balancer/contract/endpoint'
import { generate, getTask, listTasks } from '@comfy-balancer/contract/endpoints/tasks'
import type { Node } from '@comfy-balancer/contract/node'
import { problem } from '@comfy-balancer/contract/problem'
import type { Task, TaskList } from '@comfy-balancer/contract/task'
import t, { type Test } from 'tap'
import { createClient } from '../src/client.ts'
import type { Answer, Input } from '../src/input.ts'
import { ProblemError } from '../src/problem-error.ts'

type Seen = { method: string; url: string; headers: IncomingMessage['headers']; body: string }
type Reply = (request: Seen, response: ServerResponse, round: number) => void

const aTask = (more: Partial<Task> = {}): Task => ({
  id: 'task_0123456789abcdef0123456789abcdef',
  state: 'queued',
  createdAt: '2026-11-22T00:00:00.000Z',
  startedAt: null,
  finishedAt: null,
  queue: null,
  progress: null,
  attempt: 0,
  node: null,
  outputs: [],
  error: null,
  timings: { queuedSeconds: null, loadSeconds: null, executionSeconds: null },
  seed: null,
  client_id: null,
  template: null,
  group: null,
  priority: 50,
  metadata: {},
  links: { self: '', events: '' },
  ...more
})

const json = (response: ServerResponse, status: number, value: unknown, headers: Record<string, string> = {}) =>
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))

const aService = async (test: Test, reply: Reply) => {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8')
    request.on('data', chunk => {
      body += chunk
    })
    request.on('end', () => {
      const one = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body }
      reply(one, response, seen.push(one))
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  test.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const baseUrl = `http://127.0.0.1:${port}`
  return { seen, baseUrl, client: createClient({ baseUrl, apiKey: 'k', headers: { 'x-more': 'y' } }) }
}

t.test('every endpoint can be called, typed by its declaration', async t => {
  const { client, seen } = await aService(t, (_request, response) =>
    json(response, 200, { data: [aTask()], nextCursor: null })
  )
  const page: TaskList = await client.call(listTasks, { query: { state: 'running', limit: 5 } })
  t.equal(page.data.length, 1)
  t.equal(seen[0]?.url, '/api/v1/tasks?state=running&limit=5')
  t.match(seen[0]?.headers, { authorization: 'Bearer k', 'x-more': 'y' })
  await client.call(getTask, { params: { id: 'a/b' } })
  t.equal(seen[1]?.url, '/api/v1/tasks/a%2Fb', 'parameters are escaped')

  const input = { body: { prompt: {} } } satisfies Input<typeof generate>
  // @ts-expect-error a body is required
  const without: Input<typeof generate> = {}
  // @ts-expect-error an endpoint without parameters in its path takes none
  const wrong: Input<typeof listTasks> = { params: 3, query: { limit: 'many' } }
  const answer: Answer<typeof generate> = aTask()
  const anyEndpoint: Endpoint = generate
  t.ok([input, without, wrong, answer, anyEndpoint])
})

t.test('a post is repeated under one idempotency key until the service takes it', async t => {
  const { client, seen } = await aService(t, (request, response, round) => {
    if (round === 1) return response.destroy()
    if (round === 2) {
      response.writeHead(202, { 'content-type': 'application/json', 'content-length': 1_000 }).write('{"id":')
      return void setImmediate(() => response.destroy())
    }
    if (round === 3) return json(response, 503, problem('queue-full', 'wait'), { 'retry-after': '0' })
    return json(response, 202, aTask({ metadata: { key: request.headers['idempotency-key'] } }))
  })
  const task = await client.generate({ prompt: { 1: { class_type: 'X', inputs: {} } } }, { waitSeconds: 2 })
  t.equal(seen.length, 4)
  t.same(new Set(seen.map(one => one.headers['idempotency-key'])).size, 1)
  t.equal(seen[3]?.headers.prefer, 'wait=2')
  t.same(JSON.parse(seen[3]?.body ?? ''), { prompt: { 1: { class_type: 'X', inputs: {} } } })
  t.equal(task.metadata.key, seen[0]?.headers['idempotency-key'])
  await client.generate({ prompt: {} }, { idempotencyKey: 'mine' })
  t.equal(seen[4]?.headers['idempotency-key'], 'mine')
})

t.test('a group is posted like a task, read and cancelled under its own address', async t => {
  const { client, seen } = await aService(t, (_request, response) =>
    json(response, 202, { id: 'group_x', tasks: [aTask()], total: 2 })
  )
  const group = await client.generateGroup({ prompt: {}, count: 2 })
  t.equal(group.total, 2)
  t.ok(seen[0]?.headers['idempotency-key'])
  await client.getGroup('group_x')
  await client.cancelGroup('group_x')
  t.same(
    seen.slice(1).map(({ method, url }) => `${method} ${url}`),
    ['GET /api/v1/groups/group_x', 'DELETE /api/v1/groups/group_x']
  )
})

t.test('templates are stored, read, tried and deleted by name', async t => {
  const { client, seen } = await aService(t, (request, response) => {
    if (request.method === 'DELETE') return response.writeHead(204).end()
    return json(response, 200, { data: [], nextCursor: null, name: 'x' })
  })
  const content = { input_schema: { properties: {} }, prompt: {}, bindings: {} }
  t.same((await client.templates.list({ limit: 2 })).data, [])
  t.equal((await client.templates.put('x', content)).name, 'x')
  await client.templates.get('x')
  await client.templates.preview('x', { params: { style: 'premium' } })
  t.equal(await client.templates.delete('x'), undefined)
  t.same(
    seen.map(({ method, url }) => `${method} ${url}`),
    [
      'GET /api/v1/templates?limit=2',
      'PUT /api/v1/templates/x',
      'GET /api/v1/templates/x',
      'POST /api/v1/templates/x/preview',
      'DELETE /api/v1/templates/x'
    ]
  )
  t.same(JSON.parse(seen[1]?.body ?? ''), content)
})

t.test('refusals are thrown as problems, and repeated only where that can help', async t => {
  const place = { pointer: '/params/style', code: 'enum', detail: 'is none of them' }
  const { client, seen } = await aService(t, (request, response) => {
    if (request.url.endsWith('/page')) return response.writeHead(502).end('<html>bad gateway</html>')
    if (request.url.endsWith('/busy')) return json(response, 503, problem('draining', 'bye'), { 'retry-after': '0' })
    if (request.url.endsWith('/often'))
      return json(response, 429, problem('rate-limited', 'slow'), { 'retry-after': '0' })
    if (request.url.endsWith('/much'))
      return json(response, 429, problem('quota-exceeded', 'no'), { 'retry-after': '72' })
    if (request.url.endsWith('/wrong'))
      return json(response, 400, problem('validation-failed', 'no', { errors: [place] }))
    return json(response, 404, problem('not-found', 'no task of that id'))
  })
  const thrown = await client.cancel('x').catch((error: unknown) => error)
  t.ok(thrown instanceof ProblemError)
  t.match(thrown, { code: 'not-found', status: 404, detail: 'no task of that id' })
  t.same((thrown as ProblemError).errors, [])
  t.equal(seen[0]?.method, 'DELETE')
  t.equal(seen.length, 1)
  await t.rejects(client.getTask('page'), /internal-error \(502\)/)
  t.equal(seen.length, 2)
  await t.rejects(client.getTask('busy'), /draining/)
  t.equal(seen.length, 6, 'four tries, then it gives up')
  await t.rejects(client.call(generate, { body: { prompt: {} }, headers: {} }), /404/)
  t.equal(seen.length, 7, 'a post without a key is sent once')
  await t.rejects(client.getTask('often'), /rate-limited/)
  t.equal(seen.length, 11, 'a rate gives way soon')
  await t.rejects(client.getTask('much'), { code: 'quota-exceeded', retryAfterSeconds: 72 })
  t.equal(seen.length, 12, 'a quota does not')
  const wrong = await client.getTask('wrong').catch((error: unknown) => error)
  t.same((wrong as ProblemError).errors, [place])
  t.equal((wrong as ProblemError).retryAfterSeconds, undefined)
})

t.test('waiting polls long until the task has ended, and has a deadline', async t => {
  const states = ['queued', 'running', 'succeeded'] as const
  const { client, seen } = await aService(t, (request, response, round) =>
    json(response, 200, aTask({ state: request.url.includes('never') ? 'queued' : (states[round - 1] ?? 'succeeded') }))
  )
  t.equal((await client.wait('x', { timeoutMs: 5_000 })).state, 'succeeded')
  t.match(seen[0]?.url, /wait=5$/)
  await t.rejects(client.wait('never', { timeoutMs: 300 }), /it is queued/)
  t.ok(seen.length < 10, 'a service that answers at once is not asked in a tight loop')
})

t.test('watching takes a broken stream up again after the last event', async t => {
  const event = (type: string, version: number, state: string) =>
    `id: ${version}\nevent: ${type}\ndata: ${JSON.stringify({ type, version, state })}\n\n`
  const { client, seen } = await aService(t, (_request, response, round) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    if (round === 1) {
      response.write(`: hello\n\n${event('task.queued', 1, 'queued')}id: 3\r\ndata: {"type":"task.started",\r\n`)
      response.write('data: "version":3,"state":"running"}\r\n\r\n')
      response.write('data: {"type":"task.progress","progress":{"percent":5}}\n\n')
      setImmediate(() => response.destroy())
      return
    }
    response.end(event('task.succeeded', 4, 'succeeded'))
  })
  const types: string[] = []
  for await (const { type } of client.watch('x')) types.push(type)
  t.same(types, ['task.queued', 'task.started', 'task.progress', 'task.succeeded'])
  t.equal(seen[0]?.headers['last-event-id'], undefined)
  t.equal(seen[1]?.headers['last-event-id'], '3')
})

t.test('a group is watched until the last of its tasks has ended, across a broken stream', async t => {
  const { client, seen } = await aService(t, (request, response) => {
    if (!request.url.endsWith('/events')) return json(response, 200, { finishedAt: seen.length > 2 ? 'now' : null })
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const [type, id] = seen.length === 1 ? ['task.succeeded', '4.1'] : ['task.failed', '4.3']
    const state = type.slice(5)
    response.end(`id: ${id}\nevent: ${type}\ndata: {"type":"${type}","version":4,"state":"${state}"}\n\n`)
  })
  const types: string[] = []
  for await (const { type } of client.watchGroup('group_x')) types.push(type)
  t.same(types, ['task.succeeded', 'task.failed'], 'the end of one task is not the end')
  t.same(
    seen.filter(({ url }) => url?.endsWith('/events')).map(({ headers }) => headers['last-event-id']),
    [undefined, '4.1']
  )
})

t.test('watching ends for a finished task, for a missing one and on abort', async t => {
  const { client } = await aService(t, (request, response) => {
    if (request.url.includes('gone')) return json(response, 410, problem('gone', 'past'))
    if (!request.url.endsWith('/events')) return json(response, 200, aTask({ state: 'failed' }))
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    return request.url.includes('open') ? response.flushHeaders() : response.end()
  })
  const all = async (id: string, signal?: AbortSignal) => {
    let count = 0
    for await (const _event of client.watch(id, signal ? { signal } : {})) count++
    return count
  }
  t.equal(await all('done'), 0)
  await t.rejects(all('gone'), /gone/)
  const abort = new AbortController()
  setTimeout(() => abort.abort(new Error('enough')), 50)
  await t.rejects(all('open', abort.signal), /enough/)
})

t.test('outputs are fetched with the key from our own host only; nodes and fleet are one call', async t => {
  const other = await aService(t, (_request, response) => response.end('elsewhere'))
  const { client, seen, baseUrl } = await aService(t, (request, response) => {
    if (request.url === '/api/v1/nodes') return json(response, 200, { data: [{ id: 'gpu-a' } as Node] })
    if (request.url === '/api/v1/fleet') return json(response, 200, { queued: 2 })
    return response.end('bytes')
  })
  t.equal(await (await client.download({ url: '/api/v1/tasks/x/outputs/1-0' })).text(), 'bytes')
  t.equal(seen[0]?.headers.authorization, 'Bearer k')
  t.equal(await (await client.download({ url: `${other.baseUrl}/signed` })).text(), 'elsewhere')
  t.equal(other.seen[0]?.headers.authorization, undefined)
  t.equal((await client.nodes())[0]?.id, 'gpu-a')
  t.equal((await client.fleet()).queued, 2)
  t.ok(baseUrl)
})

t.test('a file is uploaded as a form, again when the network fails', async t => {
  const uploaded = { id: `input_${'0'.repeat(64)}`, sha256: '0', bytes: 3, mediaType: 'image/png', expiresAt: 'x' }
  const { client, seen } = await aService(t, (_request, response, round) =>
    round === 1 ? void response.destroy() : json(response, 201, uploaded)
  )
  t.same(await client.upload(Uint8Array.of(97, 98, 99), { filename: 'a.png' }), uploaded)
  t.equal(seen.length, 2)
  t.match(seen[1]?.headers, { 'content-type': /^multipart\/form-data; boundary=/, authorization: 'Bearer k' })
  t.match(seen[1]?.body, /name="file"; filename="a.png"\r\n[\s\S]*\r\n\r\nabc\r\n--/)
  await client.upload(new Blob(['xyz']))
  t.match(seen[2]?.body, /filename="file"[\s\S]*xyz/)
})
