import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { gunzipSync } from 'node:zlib'
import { cancelTask, generate, getTask, listTasks } from '@comfy-balancer/contract/endpoints/tasks'
import type { Task } from '@comfy-balancer/contract/task'
import type { InjectOptions } from 'fastify'
import t, { type Test } from 'tap'
import { scanJson } from '../src/json-scan.ts'
import { createLogger } from '../src/logger.ts'
import { createMetrics } from '../src/metrics.ts'
import { probes } from '../src/probes.ts'
import { Refusal } from '../src/problems.ts'
import { route } from '../src/route.ts'
import { type App, createServer } from '../src/server.ts'
import { servePage } from '../src/web-page.ts'
import { until } from './support.ts'

const id = `task_${'0'.repeat(32)}`
const aTask = (): Task => ({
  id,
  state: 'queued',
  createdAt: '2026-01-01T00:00:00.000Z',
  startedAt: null,
  finishedAt: null,
  queue: { position: 1, etaSeconds: null },
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
  metadata: { any: { thing: [1, 'x'] } },
  links: { self: `/api/v1/tasks/${id}`, events: `/api/v1/tasks/${id}/events` }
})

type LogRecord = { level: number; msg: string; [field: string]: unknown }

const anApp = async (t: Test, more: { AUTH_MODE?: 'none' } = {}) => {
  const records: LogRecord[] = []
  const destination = { write: (line: string) => void records.push(JSON.parse(line)) }
  const { logger } = createLogger({ service: 'test', instance: 'one', level: 'debug', destination })
  const config = { BODY_LIMIT_BYTES: 100_000, BODY_SECONDS: 1, JSON_MAX_DEPTH: 64, HOST: '127.0.0.1', ...more }
  const metrics = createMetrics()
  const info = { title: 'Test', version: '1.2.3', description: 'A test' }
  const app: App = await createServer({ logger, config, info, metrics })
  t.teardown(() => app.close())
  return { app, records, metrics }
}

const anApi = async (t: Test) => {
  const { app, records, metrics } = await anApp(t)
  const bodies: { text: string | undefined; body: unknown }[] = []
  route(app, generate, async request => {
    bodies.push({ text: request.bodyText, body: request.body })
    if (request.body.priority === 99) throw new Refusal('queue-full', '512 tasks wait', { retryAfterSeconds: 1.2 })
    if (request.body.priority === 98) throw new Error('secret words')
    return aTask()
  })
  route(app, getTask, async request => ({ ...aTask(), attempt: request.query.wait ?? 7 }))
  route(app, listTasks, async request => ({ data: [], nextCursor: String(request.query.limit) }))
  route(app, cancelTask, async () => aTask())
  const ask = async (options: InjectOptions) => {
    const answer = await app.inject(options)
    return { status: answer.statusCode, headers: answer.headers, body: answer.body === '' ? undefined : answer.json() }
  }
  const post = (payload: string, headers: Record<string, string> = {}) =>
    ask({
      method: 'POST',
      url: '/api/v1/generate',
      payload,
      headers: { 'content-type': 'application/json', ...headers }
    })
  return { app, records, metrics, bodies, ask, post }
}

t.test('a contract endpoint answers with its success status, typed and serialized', async t => {
  const { ask, post, bodies } = await anApi(t)
  const accepted = await post('{"prompt":{"3":{"seed":18446744073709551615,"cfg":1.0}}}')
  t.equal(accepted.status, 202)
  t.same(accepted.body, aTask())
  t.equal(bodies[0]?.text, '{"prompt":{"3":{"seed":18446744073709551615,"cfg":1.0}}}')
  t.same(bodies[0]?.body, { prompt: { 3: { seed: 2 ** 64, cfg: 1 } } }, 'nothing is added to a body')
  t.equal((await ask({ url: `/api/v1/tasks/${id}?wait=30` })).body.attempt, 30)
  t.equal((await ask({ url: '/api/v1/tasks' })).body.nextCursor, '50')
  t.equal((await ask({ method: 'DELETE', url: `/api/v1/tasks/${id}` })).status, 200)
  const headers = { 'content-type': 'application/json' }
  t.equal((await ask({ method: 'DELETE', url: `/api/v1/tasks/${id}`, headers })).status, 200)
})

/** Never run: it compiles only while wrong handlers do not. */
export const wrongHandlers = (app: App): void => {
  // @ts-expect-error the answer is not a Task
  route(app, getTask, async () => ({ nonsense: 1 }))
  // @ts-expect-error a task's list has no such query
  route(app, listTasks, async request => ({ data: [], nextCursor: request.query.page }))
}

t.test('every fault of the framework is a problem with an id', async t => {
  const { ask, post } = await anApi(t)
  const cases: [Awaited<ReturnType<typeof ask>>, number, string][] = [
    [await ask({ url: '/nowhere' }), 404, 'not-found'],
    [await ask({ method: 'POST', url: '/nowhere', payload: '{' }), 404, 'not-found'],
    [await ask({ method: 'PUT', url: `/api/v1/tasks/${id}`, payload: 'x' }), 405, 'method-not-allowed'],
    [
      await ask({ method: 'POST', url: '/api/v1/generate', payload: 'a=b', headers: { 'content-type': 'text/plain' } }),
      415,
      'unsupported-media-type'
    ],
    [await post('{"prompt":{}}', { 'content-encoding': 'gzip' }), 415, 'unsupported-media-type'],
    [
      await post('{"prompt":{}}', { 'content-type': 'application/json; charset=utf-16' }),
      415,
      'unsupported-media-type'
    ],
    [await post(`{"prompt":{"a":"${'x'.repeat(100_000)}"}}`), 413, 'payload-too-large'],
    [await post(''), 400, 'validation-failed'],
    [await ask({ url: '/api/v1/tasks/%zz' }), 400, 'validation-failed'],
    [await ask({ url: `/api/v1/tasks/${'x'.repeat(300)}` }), 400, 'validation-failed'],
    [await ask({ url: '/api/v1/tasks/nonsense' }), 400, 'validation-failed'],
    [await post('{"prompt":{},"priority":98}'), 500, 'internal-error'],
    [await post('{"prompt":{},"priority":99}'), 503, 'queue-full']
  ]
  for (const [answer, status, code] of cases) {
    t.match(answer, { status, body: { status, code, title: String, type: `/problems/${code}`, requestId: String } })
    t.match(answer.headers['content-type'], 'application/problem+json')
    t.match(answer.body.instance, /^urn:uuid:[0-9a-f-]{36}$/)
    t.equal(answer.headers['x-request-id'], answer.body.requestId)
  }
  t.equal(cases[2]?.[0].headers.allow, 'DELETE, GET, HEAD')
  t.equal(cases[12]?.[0].headers['retry-after'], '2')
  t.ok(!JSON.stringify(cases[11]?.[0].body).includes('secret words'))
})

t.test('a body that does not fit its schema is answered with every place', async t => {
  const { post, ask } = await anApi(t)
  const { body } = await post('{"priority":"high","colour":4,"requests":[{"count":0}],"nodeSelector":{"gpu":7}}')
  t.same(body.errors.map((place: { pointer: string; code: string }) => `${place.pointer} ${place.code}`).sort(), [
    '/colour additionalProperties',
    '/nodeSelector/gpu type',
    '/priority type',
    '/requests/0/count minimum'
  ])
  t.match(body.detail, /\/colour is an unknown field/)
  t.match((await ask({ url: '/api/v1/tasks?limit=1.5&sate=x' })).body.errors, [
    { pointer: '/querystring/sate', code: 'additionalProperties' },
    { pointer: '/querystring/limit', detail: 'querystring /limit must be integer' }
  ])
  t.match((await ask({ url: '/api/v1/tasks?state=done' })).body.detail, /must be one of queued, running/)
})

t.test('a body that is not exactly one JSON value is refused and the place is named', async t => {
  const { post } = await anApi(t)
  const cases: [string, string, string, RegExp][] = [
    ['{"prompt":{"1":{"a":1,"b":2,\n "a":3}}}', '/prompt/1/a', 'duplicate-key', /"a" stands twice \(line 2 column 2\)/],
    ['{"prompt":{"a":1,"\\u0061":2}}', '/prompt/a', 'duplicate-key', /stands twice/],
    ['{"prompt":{"a":[0,NaN]}}', '/prompt/a/1', 'not-json', /NaN is not JSON \(line 1 column 19\)/],
    ['{"prompt":{"a":-Infinity}}', '/prompt/a', 'not-json', /-Infinity is not JSON/],
    ['{"prompt":{"a":1e999}}', '/prompt/a', 'not-finite', /larger than a double/],
    ['\ufeff{"prompt":{}}', '', 'byte-order-mark', /byte order mark/],
    ['{"prompt":{"__proto__":{}}}', '/prompt/__proto__', 'forbidden-key', /__proto__/],
    ['{"prompt":{"constructor":{"prototype":{}}}}', '/prompt/constructor/prototype', 'forbidden-key', /prototype/],
    [`{"prompt":${'['.repeat(64)}${']'.repeat(64)}}`, `/prompt${'/0'.repeat(63)}`, 'too-deep', /deeper than 64/],
    ['{"prompt":{},}', '', 'not-json', /unexpected "}" \(line 1 column 14\)/],
    ['{"prompt":{}', '', 'not-json', /unexpected end/],
    ['{"prompt":"a', '/prompt', 'unterminated', /not closed/],
    ['{"prompt":{}} {}', '', 'not-json', /unexpected/],
    ['}{', '', 'not-json', /unexpected/],
    ['[1 2]', '', 'not-json', /unexpected "2"/]
  ]
  for (const [text, pointer, code, detail] of cases) {
    const { status, body } = await post(text)
    t.match({ status, errors: body.errors }, { status: 400, errors: [{ pointer, code, detail }] }, text.slice(0, 60))
  }
  const good = '{"prompt":{"a":"\\\\","b":"\\"}","c":[true,false,null,-0.5e-3,{}]}, "metadata":{"a":{"a":{}}}}'
  t.equal((await post(good)).status, 202)
})

t.test('the shape of a body is bounded, whatever its bytes', async t => {
  const bounds = { maxDepth: 4, maxContainers: 10, maxMembers: 10 }
  t.match(scanJson(`[${'[],'.repeat(10)}0]`, bounds), { pointer: '/9', detail: /more than 10 objects and arrays/ })
  const members = Array.from({ length: 11 }, (_, n) => `"k${n}":0`).join(',')
  t.match(scanJson(`{${members}}`, bounds), { code: 'too-large', detail: /more than 10 members/ })
  t.equal(scanJson('[[[[]]]]', bounds), undefined)
})

t.test('bytes that are not UTF-8 are refused', async t => {
  const { app } = await anApi(t)
  const payload = Buffer.concat([Buffer.from('{"prompt":{"a":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}}')])
  const answer = await app.inject({
    method: 'POST',
    url: '/api/v1/generate',
    payload,
    headers: { 'content-type': 'application/json' }
  })
  t.match(answer.json(), { status: 400, errors: [{ code: 'not-utf-8' }] })
})

t.test('a caller may name a request, and one line is logged for each that changes something', async t => {
  const { post, ask, records } = await anApi(t)
  const { headers } = await post('{"prompt":{},"priority":98}', { 'x-request-id': 'my-request.1' })
  t.equal(headers['x-request-id'], 'my-request.1')
  t.equal(headers['x-content-type-options'], 'nosniff')
  t.match(
    (await ask({ url: '/api/v1/tasks?limit=0', headers: { 'x-request-id': 'bad id' } })).headers['x-request-id'],
    /^[0-9a-f-]{36}$/
  )
  const mine = records.filter(record => record.reqId === 'my-request.1')
  t.match(mine, [
    { level: 50, errorSource: 'ours', err: { message: 'secret words' } },
    { level: 30, method: 'POST', url: '/api/v1/generate', statusCode: 500, durationMs: Number }
  ])
  t.equal(records.filter(record => record.level >= 30).length, 2)
})

t.test('the API describes itself in OpenAPI 3.1 under the names of the contract', async t => {
  const { ask, app } = await anApi(t)
  const { body } = await ask({ url: '/openapi.json' })
  t.match(body, { openapi: '3.1.0', info: { title: 'Test', version: '1.2.3' } })
  t.ok(['Task', 'Problem', 'GenerateRequest', 'Output'].every(name => name in body.components.schemas))
  const operation = body.paths['/api/v1/generate'].post
  t.equal(operation.requestBody.content['application/json'].schema.$ref, '#/components/schemas/GenerateRequest')
  t.same(operation.responses['202'].content['application/json'].schema.anyOf, [
    { $ref: '#/components/schemas/Task' },
    { $ref: '#/components/schemas/Group' }
  ])
  t.same(Object.keys(body.paths), ['/api/v1/generate', '/api/v1/tasks/{id}', '/api/v1/tasks'])
  const page = await app.inject('/docs')
  t.ok([200, 302].includes(page.statusCode))
  const { responses } = body.paths['/api/v1/generate'].post
  for (const status of ['400', '413', '415', '503', 'default'])
    t.same(Object.keys(responses[status].content), ['application/problem+json'], status)
  t.ok('Retry-After' in responses['503'].headers)
  for (const file of ['..%2f..%2fpackage.json', '..\\..\\package.json', '%2e%2e/package.json'])
    t.match((await ask({ url: `/docs/static/${file}` })).body, { status: 404, code: 'not-found' }, file)
})

t.test('readiness is the sum of its checks, each bounded and asked once a second', async t => {
  const { app } = await anApp(t)
  let asked = 0
  const answers = { redis: true }
  const { drain } = probes(app, {
    redis: async () => {
      asked++
      return { ok: answers.redis }
    },
    hanging: async () => ({ ok: true, detail: 'fine' })
  })
  t.equal((await app.inject('/livez')).json().status, 'ok')
  const [first, second] = await Promise.all([app.inject('/readyz'), app.inject('/readyz')])
  t.equal(asked, 1)
  t.same(first.json(), { status: 'ok', checks: { redis: { status: 'ok' }, hanging: { status: 'ok', detail: 'fine' } } })
  t.equal(second.statusCode, 200)
  drain()
  const draining = await app.inject('/readyz')
  t.equal(draining.statusCode, 503)
  t.equal(draining.json().status, 'unavailable')
  t.equal((await app.inject('/livez')).statusCode, 200)
})

t.test('a check that hangs or throws makes the service unready within a second', async t => {
  const { app } = await anApp(t)
  probes(app, {
    hanging: () => new Promise(() => {}),
    throwing: async () => {
      throw new Error('redis://:password@host')
    }
  })
  const { statusCode, body } = await app.inject('/readyz')
  t.equal(statusCode, 503)
  t.match(JSON.parse(body).checks, {
    hanging: { detail: 'no answer within 1000 ms' },
    throwing: { detail: 'the check failed' }
  })
})

t.test('closing ends open streams, lets requests in hand finish and refuses new ones', async t => {
  const { app } = await anApp(t)
  let finish: (() => void) | undefined
  let isStreaming = false
  app.get('/stream', async (_request, reply) => {
    const stream = new PassThrough()
    const remove = app.openStreams.add(() => stream.end('bye\n'))
    stream.once('close', remove)
    isStreaming = true
    stream.write('hello\n')
    return reply.type('text/event-stream').send(stream)
  })
  app.get('/slow', async () => {
    await new Promise<void>(resolve => {
      finish = resolve
    })
    return { done: true }
  })
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  const streamed = fetch(`${address}/stream`).then(answer => answer.text())
  const slow = fetch(`${address}/slow`).then(answer => answer.json())
  await until(() => isStreaming && finish !== undefined)
  const closed = app.close()
  t.equal(await streamed, 'hello\nbye\n')
  finish?.()
  t.same(await slow, { done: true })
  await closed
  t.equal(app.openStreams.size, 0)
})

t.test('a caller who hangs up does not hold the server open', async t => {
  const { app } = await anApp(t)
  let isAsked = false
  app.get('/never', () => {
    isAsked = true
    return new Promise(() => {})
  })
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  const call = httpRequest(`${address}/never`).on('error', () => undefined)
  call.end()
  await until(() => isAsked)
  call.destroy()
  const startedAtMs = performance.now()
  await app.close()
  t.ok(performance.now() - startedAtMs < 2000)
})

t.test('where keys are asked for, a route of the API that declares no scope needs admin', async t => {
  const { logger } = createLogger({ service: 'test', instance: 'one', level: 'silent' })
  const caller = (scope: string) => ({ tenant: 'one', may: (asked: string) => asked === scope })
  const app = await createServer({
    logger,
    config: { BODY_LIMIT_BYTES: 100_000, BODY_SECONDS: 1, JSON_MAX_DEPTH: 64, HOST: '127.0.0.1', AUTH_MODE: 'keys' },
    info: { title: 'Test', version: '1.2.3', description: 'A test' },
    access: {
      judge: async key => ({ kind: 'valid', caller: caller(key), keyName: 'k' }),
      judgeSession: async () => ({ kind: 'ended' }),
      meter: async () => undefined
    }
  })
  t.teardown(() => app.close())
  app.get('/api/v1/forgotten', async request => request.caller.tenant)
  app.get('/elsewhere', async () => 'open')
  const statusOf = async (url: string, key?: string) =>
    (await app.inject({ url, headers: key ? { authorization: `Bearer ${key}` } : {} })).statusCode
  t.equal(await statusOf('/api/v1/forgotten'), 401)
  t.equal(await statusOf('/api/v1/forgotten', 'tasks:read'), 403)
  t.equal(await statusOf('/api/v1/forgotten', 'admin'), 200)
  t.equal(await statusOf('/elsewhere'), 200)
})

t.test('a body that trickles in is ended in time, with a word', async t => {
  const { app } = await anApi(t)
  const address = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const socket = connect(Number(address.port), address.hostname).setEncoding('utf8')
  socket.on('error', () => {})
  let text = ''
  let isClosed = false
  socket.on('data', chunk => {
    text += chunk
  })
  socket.on('close', () => {
    isClosed = true
  })
  const head = ['POST /api/v1/generate HTTP/1.1', 'host: x', 'content-type: application/json', 'content-length: 9999']
  socket.write(`${head.join('\r\n')}\r\n\r\n{`)
  const trickle = setInterval(() => socket.writable && socket.write(' '), 50)
  t.teardown(() => {
    clearInterval(trickle)
    socket.destroy()
  })
  await until(() => text.includes('}') && isClosed)
  t.match(text, /^HTTP\/1\.1 408 Request Timeout\r\nContent-Type: application\/problem\+json/)
})

t.test('what is not HTTP is answered with a problem too, and serving everybody is said at the start', async t => {
  const { app, records } = await anApp(t, { AUTH_MODE: 'none' })
  t.match(records[0], { level: 40, msg: /anybody who can connect/ })
  const address = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const socket = connect(Number(address.port), address.hostname).setEncoding('utf8')
  t.teardown(() => socket.destroy())
  let text = ''
  socket.on('data', chunk => {
    text += chunk
  })
  socket.write('nonsense\r\n\r\n')
  await until(() => text.includes('}'))
  t.match(text, /^HTTP\/1\.1 400 Bad Request\r\nContent-Type: application\/problem\+json/)
})

t.test(
  'a built page is served at / with names that never change their content, and nothing foreign runs in it',
  async t => {
    const { app } = await anApp(t)
    const folder = t.testdir({
      'index.html': '<!doctype html><p>Hello',
      assets: { 'a-123.js': 'let a = 1', 'secret.map': '{}' }
    })
    servePage(app, folder)
    const page = await app.inject({ url: '/', headers: { 'accept-encoding': 'gzip' } })
    t.match(page.headers, {
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-cache',
      'content-encoding': 'gzip',
      'x-content-type-options': 'nosniff',
      'content-security-policy': /^default-src 'none'; script-src 'self'; style-src 'self'; .*frame-ancestors 'none'$/
    })
    t.notMatch(page.headers['content-security-policy'], /unsafe/)
    t.equal(gunzipSync(page.rawPayload).toString(), '<!doctype html><p>Hello')
    const script = await app.inject('/assets/a-123.js')
    t.match(script.headers, { 'content-type': 'text/javascript; charset=utf-8', 'cache-control': /immutable/ })
    t.equal(script.body, 'let a = 1')
    for (const url of ['/assets/b.js', '/assets/secret.map', '/assets/..%2findex.html', '/index.html']) {
      t.equal((await app.inject(url)).statusCode, 404, url)
    }
    const { app: empty } = await anApp(t)
    servePage(empty, join(folder, 'nowhere'))
    t.match((await empty.inject('/')).json(), { status: 404, detail: /npm run build/ })
  }
)

t.test('requests are counted by route template, and timed unless they wait on purpose', async t => {
  const { metrics, ask, post } = await anApi(t)
  for (const wait of ['', '?wait=1']) await ask({ method: 'GET', url: `/api/v1/tasks/${id}${wait}` })
  await post(JSON.stringify({ prompt: {}, priority: 99 }))
  await post(JSON.stringify({ prompt: {}, priority: 98 }), { prefer: 'wait=5' })
  await ask({ method: 'PROPFIND' as 'GET', url: '/nowhere/really' })
  const lines = (await metrics.registry.metrics()).split('\n')
  const figure = (series: string) => Number(lines.find(line => line.startsWith(`${series} `))?.slice(series.length))
  const requests = (method: string, route: string, status: string) =>
    figure(
      `http_server_requests_total{http_request_method="${method}",http_route="${route}",http_response_status_class="${status}"}`
    )
  const timed = (method: string, route: string) =>
    figure(`http_server_request_duration_seconds_count{http_request_method="${method}",http_route="${route}"}`)
  t.equal(requests('GET', '/api/v1/tasks/:id', '2xx'), 2)
  t.equal(timed('GET', '/api/v1/tasks/:id'), 1, 'the long poll is not timed')
  t.equal(requests('POST', '/api/v1/generate', '5xx'), 2)
  t.equal(timed('POST', '/api/v1/generate'), 1)
  t.equal(requests('other', 'unmatched', '4xx'), 1)
  t.equal(figure('comfy_api_problems_total{code="queue-full"}'), 1)
  t.equal(figure('comfy_api_problems_total{code="internal-error"}'), 1)
  t.equal(figure('comfy_api_problems_total{code="forbidden"}'), 0, 'codes are there before they happen')
  t.notOk(
    lines.some(line => line.includes(id) || line.includes('nowhere')),
    'no id and no address is a label'
  )
})

t.test('a scraper that stops reading is let go, and the others are answered meanwhile', async t => {
  const metrics = createMetrics({}, { silentMs: 3_000 })
  const port = await metrics.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => metrics.close())
  const ask = async (): Promise<number | undefined> => {
    const request = httpRequest({ port, host: '127.0.0.1', path: '/metrics', agent: false }).end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    response.resume()
    return response.statusCode
  }
  const heapBytes = () => process.memoryUsage().heapUsed + process.memoryUsage().external
  const before = heapBytes()
  const scraper = connect(port, '127.0.0.1').pause()
  t.teardown(() => scraper.destroy())
  const isGone = new Promise<boolean>(resolve => {
    scraper.on('error', () => {}).once('close', () => resolve(true))
  })
  scraper.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(5_000))
  for (let i = 0; i < 3; i++) t.equal(await ask(), 200)
  t.ok(heapBytes() - before < 100 * 2 ** 20, 'what it does not take does not pile up')
  const asking = setInterval(() => scraper.write('\r\n'), 20)
  t.teardown(() => clearInterval(asking))
  t.equal(await isGone, true)
  t.equal(await ask(), 200)
})
