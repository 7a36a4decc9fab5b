import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Endpoint } from '@comfy-balancer/contract/endpoint'
import { endpoints as all } from '@comfy-balancer/contract/endpoints/all'
import type { Group } from '@comfy-balancer/contract/group'
import { type Scope, scopes } from '@comfy-balancer/contract/scope'
import type { Task } from '@comfy-balancer/contract/task'
import { createKeys } from '@comfy-balancer/task-store/keys'
import { openScratchLedger } from '@comfy-balancer/task-store/scratch-ledger'
import { aNode } from '@comfy-balancer/task-store/scratch-node'
import { Value } from '@sinclair/typebox/value'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { leadingTenants } from '../src/leading-tenants.ts'
import { openBalancer } from './balancer.ts'
import { pictureBytes, pictureCatalog, pictureOutput, pictureRequest } from './picture.ts'

const json = { 'content-type': 'application/json' }

/** A balancer that asks for keys, on a ledger of its own, with one node that is played by hand. */
const open = async (t: Test) => {
  const lines: string[] = []
  const { url, ledger, redis } = await openBalancer(t, {
    ...{ env: { AUTH_MODE: 'keys' }, limits: { aliveMs: 60_000, leaseMs: 60_000 } },
    store: { open: async () => ({ stream: Readable.from([pictureBytes]) }) as never },
    tell: line => void lines.push(line)
  })
  await ledger.nodes.register(aNode({ catalog: pictureCatalog }))
  const key = async (tenant: string, granted: readonly Scope[] = ['tasks:read', 'tasks:write', 'workflows:raw']) => {
    const made = await ledger.apiKeys.create({ tenant, name: `${tenant}'s`, scopes: granted, lifetimeMs: undefined })
    return { ...made.record, text: made.text, headers: { authorization: `Bearer ${made.text}` } }
  }
  const post = (headers: Record<string, string>, text = pictureRequest) =>
    fetch(`${url}/api/v1/generate`, { method: 'POST', body: text, headers: { ...json, ...headers } })
  const accepted = async (headers: Record<string, string>): Promise<Task> => {
    const answer = await post(headers)
    if (answer.status !== 202) throw new Error(await answer.text())
    return (await answer.json()) as Task
  }
  const claim = (task: string) =>
    ledger.attempts.claim({
      ...{ node: 'gpu-a', epoch: 'e', task, nonce: task, predictedSeconds: 1, why: {}, overtakes: [] }
    })
  return { url, ledger, redis, lines, key, post, accepted, claim }
}

/** An address of an endpoint, its parameters filled in from `params`. */
const addressOf = ({ url }: Endpoint, params: Readonly<Record<string, string>>): string =>
  url.replace(/:([A-Za-z]+)/g, (_, name: string) => params[name] ?? 'unknown')

const someParams = { id: `task_${'0'.repeat(32)}`, output: '1-0', tenant: 'pmc' }

/** One id in the place of every path parameter, but for those that have a form of their own. */
const paramsWith = (id: string): Record<string, string> => ({
  id,
  output: '1-0',
  tenant: 'pmc',
  name: id,
  fingerprint: id
})

const ask = (
  url: string,
  endpoint: Endpoint,
  params: Readonly<Record<string, string>>,
  headers: Record<string, string>
) =>
  fetch(url + addressOf(endpoint, params), {
    method: endpoint.method,
    headers: { ...headers, ...(endpoint.schema.body && json) },
    ...(endpoint.schema.body && { body: '{}' })
  })

t.test('without a key nothing is served but what is open to anybody, and nothing is read', async t => {
  const { url, ledger, key, post } = await open(t)
  for (const endpoint of all) {
    const answer = await ask(url, endpoint, someParams, {})
    if (endpoint.scope === null) t.equal(answer.status, 200, endpoint.url)
    else {
      t.match([answer.status, await answer.json()], [401, { code: 'unauthenticated' }], endpoint.schema.operationId)
      t.equal(answer.headers.get('www-authenticate'), 'Bearer realm="comfy-balancer"')
    }
  }
  for (const path of ['/docs/', '/openapi.json']) t.equal((await fetch(url + path)).status, 200, path)
  t.equal((await fetch(`${url}/api/v1/nothing`)).status, 404)
  t.equal((await fetch(`${url}/api/v1/tasks`, { method: 'HEAD' })).status, 401)

  const good = await key('pmc')
  const revoked = await key('pmc')
  await ledger.apiKeys.revoke(revoked.id)
  const { text: expired } = await ledger.apiKeys.create({ tenant: 'pmc', name: 'x', scopes: ['admin'], lifetimeMs: 0 })
  const foreign = (await key('other')).text.slice(0, 16) + good.text.slice(16)
  for (const [authorization, words] of [
    [`Bearer ${revoked.text}`, /revoked/],
    [`Bearer ${expired}`, /expired/],
    [`Bearer ${good.text.slice(0, -1)}0`, /mistyped/],
    [`Bearer ${foreign}`, /mistyped/],
    [`Bearer cbk_${'a'.repeat(9_000)}`, /mistyped/],
    [`Bearer ${good.text} ${good.text}`, /Send an API key/],
    [good.text, /Send an API key/],
    [`Basic ${good.text}`, /Send an API key/],
    ['Bearer', /Send an API key/]
  ] as const) {
    const answer = await post({ authorization }, '{not json')
    t.match(
      [answer.status, await answer.json()],
      [401, { code: 'unauthenticated', detail: words }],
      authorization.slice(0, 30)
    )
  }
  t.equal((await post(good.headers, '{not json')).status, 400, 'with a key the body is looked at')
  t.equal((await fetch(`${url}/api/v1/tasks`, { headers: { authorization: `bearer ${good.text}` } })).status, 200)
  t.equal((await fetch(`${url}/api/v1/tasks?key=${good.text}`)).status, 401, 'a key in an address is no key')
})

t.test('a key that is revoked or has expired is forgotten within seconds', async t => {
  const { url, ledger, key } = await open(t)
  const { headers, id } = await key('pmc')
  const short = await ledger.apiKeys.create({ tenant: 'pmc', name: 'x', scopes: ['tasks:read'], lifetimeMs: 1_500 })
  const statusOf = async (authorization: string) =>
    (await fetch(`${url}/api/v1/tasks`, { headers: { authorization } })).status
  t.equal(await statusOf(headers.authorization), 200)
  t.equal(await statusOf(`Bearer ${short.text}`), 200)
  await ledger.apiKeys.revoke(id)
  for (const authorization of [`Bearer ${short.text}`, headers.authorization]) {
    const end = Date.now() + 20_000
    while ((await statusOf(authorization)) === 200 && Date.now() < end)
      await new Promise(resolve => setTimeout(resolve, 50))
    t.equal(await statusOf(authorization), 401)
  }
})

t.test('each endpoint asks for its scope, and admin has them all', async t => {
  const { url, key } = await open(t)
  const admin = await key('pmc', ['admin'])
  const keys = new Map(await Promise.all(scopes.map(async scope => [scope, await key('pmc', [scope])] as const)))
  for (const endpoint of all.filter(one => one.scope !== null)) {
    const { scope } = endpoint
    const name = endpoint.schema.operationId
    const others = await key(
      'pmc',
      scopes.filter(one => one !== scope && one !== 'admin')
    )
    const refused = await ask(url, endpoint, someParams, others.headers)
    t.match([refused.status, await refused.json()], [403, { code: 'forbidden', detail: scope! }], name)
    t.match(refused.headers.get('www-authenticate'), `error="insufficient_scope", scope="${scope}"`)
    for (const { headers } of [keys.get(scope!)!, admin]) {
      const served = await ask(url, endpoint, someParams, headers)
      t.notOk([401, 403].includes(served.status), `${name}: ${served.status}`)
      await served.body?.cancel()
    }
  }
})

t.test('each endpoint names the query parameters that it does not take', async t => {
  const { url, key } = await open(t)
  const { headers } = await key('pmc', ['admin'])
  const ids = [someParams.id, `group_${'0'.repeat(32)}`, '0'.repeat(32), `${someParams.id}-1`, 'pmc']
  const bodies: Record<string, object> = {
    putTemplate: { input_schema: { properties: {} }, bindings: {}, prompt: {} }
  }
  for (const { method, url: path, schema } of all) {
    const fits = (id: string) => !schema.params || Value.Check(schema.params, paramsWith(id))
    const id = ids.find(fits) ?? t.fail(`${path}: say in this test what an id of it looks like`)
    const target = `${url}${path.replace(/:([A-Za-z]+)/g, (_, name) => paramsWith(String(id))[name]!)}?nonsense=1`
    const form = schema.consumes ? new FormData() : undefined
    const text = JSON.stringify(bodies[schema.operationId] ?? {})
    const sent = { body: form ?? text, headers: { ...headers, ...(form ? {} : json) } }
    const answer = await fetch(target, { method, headers, ...(schema.body && sent) })
    t.match(
      [answer.status, await answer.json()],
      [400, { code: 'validation-failed', errors: [{ pointer: '/querystring/nonsense' }] }],
      schema.operationId
    )
  }
})

t.test('each endpoint that takes a body refuses one that is too large or of another kind', async t => {
  const { url, key } = await open(t)
  const { headers } = await key('pmc', ['admin'])
  const large = Buffer.alloc(65 * 2 ** 20, ' ')
  for (const endpoint of all.filter(({ schema }) => schema.body)) {
    const { method, schema } = endpoint
    const type = schema.consumes ? 'multipart/form-data; boundary=x' : 'application/json'
    for (const [status, code, body, sent] of [
      [413, 'payload-too-large', large, type],
      [415, 'unsupported-media-type', '{}', 'text/plain'],
      [415, 'unsupported-media-type', 'a=b', 'application/x-www-form-urlencoded']
    ] as const) {
      const answer = await fetch(url + addressOf(endpoint, someParams), {
        ...{ method, body, headers: { ...headers, 'content-type': sent } }
      })
      t.match([answer.status, await answer.json()], [status, { code }], `${schema.operationId}: ${sent}`)
    }
  }
})

t.test('a workflow of one’s own needs workflows:raw', async t => {
  const { key, post } = await open(t)
  const templatesOnly = await key('pmc', ['tasks:read', 'tasks:write'])
  const answer = await post(templatesOnly.headers)
  t.match([answer.status, await answer.json()], [403, { code: 'forbidden', detail: /workflows:raw/ }])
  t.equal((await post((await key('pmc')).headers)).status, 202)
})

t.test('what belongs to another tenant looks like what was never there, on every route', async t => {
  const { url, ledger, redis, key, accepted, claim, post } = await open(t)
  const allButAdmin = scopes.filter(scope => scope !== 'admin')
  const [mine, theirs] = [await key('mine', allButAdmin), await key('theirs', allButAdmin)]
  const task = await accepted(mine.headers)
  await claim(task.id)
  await ledger.attempts.start(task.id, task.id)
  await ledger.attempts.output(task.id, task.id, [pictureOutput])
  const fingerprint = '0123456789abcdef'.repeat(2)
  const keys = createKeys(ledger.prefix)
  await redis.set(
    keys.poison('mine', fingerprint),
    JSON.stringify({ task: task.id, nodes: 'gpu-a', sinceMs: Date.now() })
  )
  await redis.zadd(keys.poisons(), Date.now() + 60_000, `mine:${fingerprint}`)
  /** An id of each kind of thing that belongs to a tenant, by the first part of its address. */
  const group = (await (await post(mine.headers, `{"requests":[${pictureRequest}]}`)).json()) as Group
  const delivery = { task: task.id, version: 1, tenant: 'mine', url: 'https://example.com/', body: '{}' }
  await ledger.deliveries.owe({ ...delivery, type: 'task.queued' })
  const foreign: Readonly<Record<string, string>> = {
    'webhook-deliveries': `${task.id}-1`,
    ...{ tasks: task.id, groups: group.id, quarantine: fingerprint, templates: 'film-1' }
  }
  const content = JSON.stringify({ input_schema: { properties: {} }, bindings: {}, ...JSON.parse(pictureRequest) })
  const putTemplate = () =>
    fetch(`${url}/api/v1/templates/film-1`, { method: 'PUT', body: content, headers: { ...json, ...mine.headers } })
  /** What belongs to nobody: a tenant's key may see it or its scope decides. */
  const shared = ['nodes', 'tenants']

  const withId = all.filter(({ url, method }) => url.includes('/:') && method !== 'PUT')
  t.ok(withId.length >= 5)
  for (const endpoint of withId) {
    const kind = /^\/api\/v1\/([^/]+)\//.exec(endpoint.url)?.[1] ?? ''
    if (shared.includes(kind)) continue
    const id = foreign[kind]
    if (!id) {
      t.fail(`${endpoint.url}: say in this test how another tenant's ${kind} comes about`)
      continue
    }
    if (kind === 'templates') t.equal((await putTemplate()).status, 200)
    const unknown = id.replace(/[0-9]/g, digit => String(9 - Number(digit)))
    const answers = await Promise.all(
      [id, unknown].map(async one => {
        const answer = await ask(url, endpoint, { ...someParams, id: one, fingerprint: one, name: one }, theirs.headers)
        const { instance: _, requestId: __, ...problem } = (await answer.json()) as Record<string, unknown>
        const headers = [...answer.headers].filter(([name]) => !/^(x-request-id|date|ratelimit.*)$/.test(name))
        return { status: answer.status, problem: JSON.parse(JSON.stringify(problem).replaceAll(one, 'ID')), headers }
      })
    )
    t.equal(answers[0]?.status, 404, endpoint.schema.operationId)
    t.same(answers[0]?.problem, answers[1]?.problem)
    t.equal(answers[0]?.headers.length, answers[1]?.headers.length)
    const own = await ask(url, endpoint, { ...someParams, id, fingerprint: id, name: id }, mine.headers)
    t.ok(own.ok, `${endpoint.schema.operationId}: its owner gets it`)
    await own.body?.cancel()
  }

  await putTemplate()
  for (const path of ['tasks', 'quarantine', 'templates', 'webhook-deliveries', `webhook-deliveries?task=${task.id}`]) {
    const list = await fetch(`${url}/api/v1/${path}`, { headers: theirs.headers })
    t.same([list.status, ((await list.json()) as { data: object[] }).data], [200, []], path)
  }
  const keyed = { 'idempotency-key': 'k' }
  const [one, two] = [await post({ ...mine.headers, ...keyed }), await post({ ...theirs.headers, ...keyed })]
  t.notSame(((await one.json()) as Task).id, ((await two.json()) as Task).id, 'idempotency keys are per tenant')
})

t.test("a socket tells its tenant's tasks only", async t => {
  const { url, key, accepted } = await open(t)
  const [mine, theirs] = [await key('mine'), await key('theirs')]
  const { id } = await accepted(mine.headers)
  const address = `${url.replace('http', 'ws')}/api/v1/ws`
  const [refused] = (await once(new WebSocket(address), 'error').catch(error => [error])) as [Error]
  t.match(refused.message, /401/)
  for (const [headers, expected] of [
    [theirs.headers, { type: 'error', taskId: id, problem: { code: 'not-found' } }],
    [mine.headers, { type: 'subscribed', taskId: id }]
  ] as const) {
    const socket = new WebSocket(address, { headers })
    t.teardown(() => socket.terminate())
    await once(socket, 'open')
    socket.send(JSON.stringify({ type: 'subscribe', taskId: id }))
    const [answer] = await once(socket, 'message')
    t.match(JSON.parse(String(answer)), expected)
  }
})

t.test('webhooks are signed with the secret of their tenant', async t => {
  const { url, ledger, key } = await open(t)
  const put = async (headers: Record<string, string>) => {
    const answer = await fetch(`${url}/api/v1/webhook-secret`, {
      ...{ method: 'PUT', body: '{}', headers: { ...json, ...headers } }
    })
    return ((await answer.json()) as { secret: string }).secret
  }
  const [mine, theirs] = [await put((await key('mine')).headers), await put((await key('theirs')).headers)]
  t.same(
    [await ledger.webhookSecrets.current('mine'), await ledger.webhookSecrets.current('theirs')],
    [[mine], [theirs]]
  )
  t.not(mine, theirs)
})

t.test('an upload or a LoRA of another tenant is one that was never there', async t => {
  const { ledger, key, post } = await open(t)
  const [one, other] = [await key('one'), await key('other')]
  const sha256 = 'a'.repeat(64)
  await ledger.inputs.add('one', { sha256, path: 'p', bytes: 1, mediaType: 'image/png' }, 60_000)
  const answerOf = async (headers: Record<string, string>, id: string) => {
    const prompt = JSON.parse(pictureRequest).prompt
    prompt['9'].inputs.filename_prefix = 'a.png'
    const answer = await post(headers, JSON.stringify({ prompt, inputs: { 'a.png': { upload: id } } }))
    const { code, detail } = (await answer.json()) as { code?: string; detail?: string }
    return [answer.status, code, detail?.replaceAll(id, 'ID')]
  }
  t.match(await answerOf(one.headers, `input_${sha256}`), [202])
  const unknown = await answerOf(other.headers, `input_${'b'.repeat(64)}`)
  t.match(unknown, [422, 'input-invalid'])
  t.same(await answerOf(other.headers, `input_${sha256}`), unknown)
})

t.test('nodes and fleet name the tasks and queues of others to operators alone', async t => {
  const { url, key, accepted, claim } = await open(t)
  const mine = await key('mine')
  const curious = await key('curious', ['nodes:read', 'tasks:read'])
  const operator = await key('ops', ['admin'])
  const task = await accepted(mine.headers)
  await accepted(mine.headers)
  await claim(task.id)
  for (const path of ['/api/v1/nodes', '/api/v1/nodes/gpu-a', '/api/v1/fleet']) {
    const told = async (headers: Record<string, string>) => (await fetch(url + path, { headers })).text()
    const [less, more] = [await told(curious.headers), await told(operator.headers)]
    t.notMatch(less, /task_|mine/, path)
    t.match(more, path.endsWith('fleet') ? '"mine":1' : task.id)
  }
})

t.test('limits are told before they are reached, and honest when they are', async t => {
  const { url, ledger, key, post, redis } = await open(t)
  const { headers } = await key('pmc')
  await ledger.tenants.setLimits('pmc', { requestsPerMinute: 6, generationsPerHour: 2 })
  const first = await post({ ...headers, 'idempotency-key': 'a' })
  t.equal(first.status, 202)
  t.equal(first.headers.get('ratelimit-policy'), '"requests";q=6;w=60, "generations";q=2;w=3600')
  t.match(first.headers.get('ratelimit'), /^"requests";r=5;t=10, "generations";r=1;t=3600$/)
  const again = await post({ ...headers, 'idempotency-key': 'a' })
  t.equal(again.headers.get('idempotency-replayed'), 'true')
  t.match((await post(headers)).headers.get('ratelimit'), /"generations";r=0;t=3\d{3}$/)
  const over = await post(headers)
  t.match([over.status, await over.json()], [429, { code: 'quota-exceeded', detail: /2 tasks .* last hour/ }])
  const seconds = Number(over.headers.get('retry-after'))
  t.ok(seconds > 3_500 && seconds <= 3_600, `${seconds} s`)
  t.match(over.headers.get('ratelimit'), '"generations";r=0')
  t.equal((await post({ ...headers, 'idempotency-key': 'a' })).status, 202, 'a retry is answered whatever is used up')

  const list = () => fetch(`${url}/api/v1/tasks`, { headers })
  t.match((await list()).headers.get('ratelimit'), /^"requests";r=0/)
  const refused = await list()
  t.match([refused.status, await refused.json()], [429, { code: 'rate-limited', detail: /6 requests a minute/ }])
  t.ok(Number(refused.headers.get('retry-after')) <= 10)
  t.match((await list()).headers.get('ratelimit'), /^"requests";r=0;t=\d+$/)
  const other = await key('other')
  t.equal((await post(other.headers)).status, 202, 'another tenant is not touched')
  t.ok((await redis.keys(`${ledger.prefix}rate:*`)).length === 2)

  await ledger.tenants.setLimits('pmc', { maxQueued: 2 })
  t.match(await (await post(headers)).json(), { code: 'quota-exceeded', detail: /2 tasks .* wait/ })
})

t.test('operators see and set what a tenant may use', async t => {
  const { url, key, post } = await open(t)
  const { headers } = await key('ops', ['admin'])
  const tenant = (name: string, limits?: object) =>
    fetch(`${url}/api/v1/tenants/${name}`, {
      headers: { ...headers, ...(limits && json) },
      ...(limits && { method: 'PUT', body: JSON.stringify(limits) })
    })
  t.equal((await tenant('nobody')).status, 404)
  t.match(await (await tenant('ops')).json(), { name: 'ops', limits: { generationsPerHour: 50 }, usage: { queued: 0 } })
  const set = await tenant('new', { maxRunning: 2, weight: 0.5 })
  t.same([set.status, ((await set.json()) as { limits: object }).limits], [200, { maxRunning: 2, weight: 0.5 }])
  for (const wrong of [
    { maxRunning: -1 },
    { weight: 0 },
    { requestsPerMinute: 0 },
    { generationsPerHour: 1.5 },
    { other: 1 }
  ]) {
    t.equal((await tenant('new', wrong)).status, 400, JSON.stringify(wrong))
  }
  t.equal((await tenant('New')).status, 400)
  t.equal((await tenant('..%2f')).status, 400)
  const { headers: theirs } = await key('new')
  await post(theirs)
  t.match(await (await tenant('new')).json(), {
    limits: { maxRunning: 2 },
    usage: { queued: 1, generationsLastHour: 0 }
  })
})

t.test('logs say whose request it was and never hold a key', async t => {
  const { url, ledger, lines, key, post } = await open(t)
  const { headers, text } = await key('pmc')
  const { text: stranger } = await openStranger(t)
  const secrets = [text, stranger].flatMap(one => [one.slice(16, 40), one.slice(40)])
  await post(headers)
  await post({ ...headers, 'x-api-key': text, cookie: `key=${text}`, 'x-request-id': 'request-one' })
  await post({ authorization: `Bearer ${stranger}` })
  await post({ authorization: `Bearer ${text}x` })
  await fetch(`${url}/api/v1/tasks?key=${text}`)
  await ledger.tenants.setLimits('pmc', { requestsPerMinute: 1 })
  await post(headers)
  await post(headers)
  const log = lines.join('')
  t.match(log, /"tenant":"pmc","keyName":"pmc's".*"msg":"task accepted"/)
  t.match(log, /"reason":"unknown".*"msg":"caller not authenticated"/)
  for (const secret of secrets) t.notOk(log.includes(secret), 'not a part of it')
})

const openStranger = async (t: Test) => {
  const { ledger, close } = openScratchLedger()
  t.teardown(close)
  return ledger.apiKeys.create({ tenant: 'x', name: 'x', scopes: ['admin'], lifetimeMs: undefined })
}

t.test('the API document says which key each operation needs', async t => {
  const { url } = await open(t)
  type Operation = { operationId: string; security?: object[] }
  const document = (await (await fetch(`${url}/openapi.json`)).json()) as {
    paths: Record<string, Record<string, Operation>>
    components: { securitySchemes: object }
  }
  t.match(document.components.securitySchemes, { apiKey: { type: 'http', scheme: 'bearer' } })
  const operations = Object.values(document.paths).flatMap(path => Object.values(path))
  for (const { scope, schema } of all) {
    const operation = operations.find(one => one.operationId === schema.operationId)
    t.same(operation?.security, scope === null ? undefined : [{ apiKey: [scope] }], schema.operationId)
  }
})

const program = fileURLToPath(new URL('../src/keys/main.js', import.meta.url))

t.test('keys and limits are made, listed, changed and ended at the command line', async t => {
  const { url, ledger } = await open(t)
  const { NODE_OPTIONS: _, REDIS_URL, ...env } = process.env
  const run = (...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
    new Promise(resolve => {
      const options = { env: { ...env, REDIS_URL, REDIS_KEY_PREFIX: ledger.prefix } }
      execFile(process.execPath, [program, ...words], options, (error, stdout, stderr) =>
        resolve({ code: Number(error?.code ?? 0), stdout, stderr })
      )
    })
  const statusOf = async (key: string) =>
    (await fetch(`${url}/api/v1/tasks`, { headers: { authorization: `Bearer ${key.trim()}` } })).status

  const made = await run(
    'create',
    '--tenant',
    'pmc',
    '--scopes',
    'tasks:read,tasks:write',
    '--expires',
    '90d',
    '--name',
    'ci of pmc'
  )
  t.match(made.stdout, /^cbk_\w{61}\n$/, 'the key alone, for a script to keep')
  t.match(made.stderr, /tenant pmc: tasks:read, tasks:write; until \d{4}-/)
  t.equal(await statusOf(made.stdout), 200)
  const { stdout: list } = await run('list', '--tenant', 'pmc')
  t.match(list, /ci of pmc\s+tasks:read,tasks:write/)
  t.notOk(list.includes(made.stdout.trim().slice(16)))
  const id = /^(\w{11})\s+pmc/m.exec(list)?.[1] ?? ''
  const next = await run('rotate', id, '--overlap', '1h')
  t.same([await statusOf(next.stdout), await statusOf(made.stdout)], [200, 200], 'both work during the overlap')
  t.equal((await run('revoke', id)).code, 0)
  t.match((await run('list')).stdout, /revoked/)
  const limits = await run(
    'limits',
    '--tenant',
    'pmc',
    '--per-minute',
    '1200',
    '--per-hour',
    'none',
    '--max-running',
    '4'
  )
  t.match(limits.stdout, /requests per minute +1200\n +generations per hour +no limit/)
  t.match((await run('limits', '--tenant', 'pmc')).stdout, /running +4 +now 0/)

  for (const [words, fault] of [
    [[], /what shall be done/],
    [['frobnicate'], /not a command/],
    [['create', '--scopes', 'admin'], /--tenant is missing/],
    [['create', '--tenant', 'a'], /--scopes is missing/],
    [['create', '--tenant', '../a', '--scopes', 'admin'], /--tenant/],
    [['create', '--tenant', 'a', '--scopes', 'tasks:everything'], /"tasks:everything" is not a scope/],
    [['create', '--tenant', 'a', '--scopes', 'admin', '--expires', 'soon'], /not a time/],
    [['create', '--tenant', 'a', '--scopes', 'admin', '--colour', 'red'], /colour/],
    [['limits', '--tenant', 'a', '--per-minute', 'many'], /--per-minute cannot be many/],
    [['limits', '--tenant', 'nobody'], /there is no tenant nobody/],
    [['revoke', '00000000000'], /there is no key/],
    [['rotate'], /one key id is needed/]
  ] as const) {
    const { code, stderr, stdout } = await run(...words)
    t.match([code, stderr, stdout], [1, fault, ''], words.join(' '))
  }
})

t.test('metrics name the tenants with most waiting tasks and lump the others together', t => {
  const waiting = { a: 3, b: 9, c: 3, d: 1, e: 1 }
  const oldest = new Map(Object.entries({ a: 50, b: 90, d: 10 }))
  t.same(leadingTenants(waiting, oldest, 2), [
    { tenant: 'b', waiting: 9, oldestMs: 90 },
    { tenant: 'a', waiting: 3, oldestMs: 50 },
    { tenant: '_other', waiting: 5, oldestMs: 10 }
  ])
  t.equal(leadingTenants(waiting, oldest, 5).length, 5, 'no row for nobody')
  t.equal(leadingTenants({ x: 1, y: 1 }, new Map(), 1)[1]?.oldestMs, undefined)
  t.end()
})
