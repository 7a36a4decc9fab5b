import { randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { FleetUpdate } from '@comfy-balancer/contract/fleet-update'
import type { Gpu, NodeReport } from '@comfy-balancer/contract/node'
import { problem } from '@comfy-balancer/contract/problem'
import { type Scope, scopes } from '@comfy-balancer/contract/scope'
import type { Session } from '@comfy-balancer/contract/session'
import type { Task } from '@comfy-balancer/contract/task'
import type { TaskTimeline } from '@comfy-balancer/contract/task-timeline'
import { createLogger } from '@comfy-balancer/service-kit/logger'
import { createKeys } from '@comfy-balancer/task-store/keys'
import { aNode as aKnownNode, aReport as anIdleReport } from '@comfy-balancer/task-store/scratch-node'
import t, { type Test } from 'tap'
import { createFleetFeed } from '../src/dashboard/fleet-feed.ts'
import { createFleetViewers } from '../src/dashboard/fleet-viewers.ts'
import { createNodeHistory } from '../src/dashboard/node-history.ts'
import { createThroughput } from '../src/dashboard/throughput.ts'
import { openBalancer } from './balancer.ts'
import { pictureCatalog, pictureOutput, pictureRequest } from './picture.ts'

const patienceMs = 30_000
const { logger } = createLogger({ service: 'comfy-balancer', instance: 'test', level: 'silent' })
const spent = { gpuSeconds: 1, loadSeconds: 0.5, executionSeconds: 1, loaded: true }

const gpu: Gpu = {
  ...{ uuid: 'u', name: 'NVIDIA L40S', utilization: 0.5, vramTotalBytes: 24e9, vramUsedBytes: 12e9 },
  ...{ temperatureCelsius: 60, powerWatts: 200.4 }
}
const aReport = (more: Partial<NodeReport> = {}): NodeReport =>
  anIdleReport({ gpus: [gpu], resident: ['sdxl.safetensors'], ...more })

const aNode = (id: string) => aKnownNode({ id, catalog: pictureCatalog, report: aReport() })

const eventually = async <T>(ask: () => Promise<T | undefined> | T | undefined): Promise<T> => {
  const end = performance.now() + patienceMs
  for (;;) {
    const answer = await ask()
    if (answer !== undefined) return answer
    if (performance.now() > end) throw new Error('it never came to that')
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

/** A balancer without its loops, on a ledger of its own; the feed alone is started, as the test asks for it. */
const open = async (t: Test, mode: 'none' | 'keys' = 'none') => {
  const { url, ledger, redis, app } = await openBalancer(t, {
    env: { ...{ NODE_ALIVE_MS: '600000', LEASE_MS: '600000' }, AUTH_MODE: mode, LOGDY_UI_URL: 'http://127.0.0.1:8081' },
    limits: { aliveMs: 600_000, leaseMs: 600_000 },
    store: {}
  })
  await ledger.nodes.register(aNode('gpu-a'))
  const claim = (task: string, node = 'gpu-a') =>
    ledger.attempts.claim({
      ...{ node, epoch: 'e', task, nonce: task, predictedSeconds: 8, overtakes: [] },
      why: { loadSeconds: 1.5, executionSeconds: 2, score: 3.5, runnerUp: { node: 'gpu-b', seconds: 9 }, nodes: 3 }
    })
  return { url, ledger, redis, claim, feed: app.feed }
}

/** Reads the fleet's event stream; `next` answers the first update from now on that is as wanted. */
const watch = async (t: Test, url: string, headers: Record<string, string> = {}) => {
  const abort = new AbortController()
  t.teardown(() => abort.abort())
  const response = await fetch(`${url}/api/v1/fleet/events`, { headers, signal: abort.signal })
  const seen: FleetUpdate[] = []
  let isOver = false
  const read = async (): Promise<void> => {
    let rest = ''
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      const blocks = (rest + chunk).split('\n\n')
      rest = blocks.pop()!
      for (const block of blocks) if (block.startsWith('data: ')) seen.push(JSON.parse(block.slice(6)))
    }
  }
  read().then(
    () => (isOver = true),
    () => (isOver = true)
  )
  let from = 0
  const next = (isWanted: (update: FleetUpdate) => boolean): Promise<FleetUpdate> =>
    eventually(() => {
      const found = seen.slice(from).find(isWanted)
      if (found) from = seen.indexOf(found) + 1
      return found
    })
  return { status: response.status, seen, next, end: () => abort.abort(), isOver: () => isOver }
}

const accept = async (url: string, headers: Record<string, string> = {}): Promise<Task> => {
  const answer = await fetch(`${url}/api/v1/generate`, {
    method: 'POST',
    body: pictureRequest,
    headers: { 'content-type': 'application/json', ...headers }
  })
  if (answer.status !== 202) throw new Error(await answer.text())
  return (await answer.json()) as Task
}

t.test('a dashboard first hears everything, then what changes', async t => {
  const { url, ledger, claim, feed } = await open(t)
  feed.begin()
  const { next, seen } = await watch(t, url)
  const whole = await next(update => update.isWhole)
  t.match(whole, {
    totals: { nodes: { ready: 1, down: 0 }, running: 0, queued: 0, oldestAt: null },
    nodes: [
      { id: 'gpu-a', state: 'ready', trouble: null, attempt: null, gpu: { powerWatts: 200, utilization: 0.5 }, gpus: 1 }
    ],
    ...{ queues: [], ended: [], gone: [], logdyUrl: 'http://127.0.0.1:8081', sampleSeconds: 5 }
  })

  const task = await accept(url)
  t.match(await next(update => (update.queues?.length ?? 0) > 0), {
    isWhole: false,
    nodes: [],
    queues: [{ tenant: 'default', models: [], waiting: 1 }],
    totals: { queued: 1, oldestAt: task.createdAt }
  })
  await claim(task.id)
  await ledger.nodes.heartbeat(
    'gpu-a',
    'e',
    aReport({ progress: { percent: 37, graphNode: '1', classType: 'EmptyImage', value: 1, max: 3 } }),
    'ready',
    task.id
  )
  const working = await next(update => update.nodes[0]?.attempt?.progress?.percent === 37)
  t.match(working.nodes[0]?.attempt, { task: task.id, models: [] })
  const { claimedAt, expectedAt } = working.nodes[0]!.attempt!
  t.equal(Date.parse(expectedAt!) - Date.parse(claimedAt), 8_000)

  await ledger.attempts.complete(task.id, task.id, [pictureOutput], spent)
  const ended = await next(update => update.ended !== undefined && update.ended.length > 0)
  t.match(ended.ended, [
    {
      ...{ id: task.id, tenant: 'default', state: 'succeeded', node: 'gpu-a', attempt: 1, outputs: 1, reloaded: true },
      picture: `/api/v1/tasks/${task.id}/outputs/1-0`
    }
  ])
  t.match(ended.totals, { reloadShare: 1 })
  await ledger.nodes.drain('gpu-a', true)
  t.match(await next(update => update.nodes[0]?.state === 'draining'), { nodes: [{ trouble: /drained/ }] })
  await ledger.nodes.register(aNode('gpu-b'))
  t.same(
    (await next(update => update.nodes.some(({ id }) => id === 'gpu-b'))).nodes.map(({ id }) => id),
    ['gpu-b'],
    'what did not change is not repeated'
  )

  const care = { owned: true, state: 'well', reason: null, restarts: 0 } as const
  const { comfyui } = aReport()
  const owned = aReport({ comfyui: { ...comfyui, care } })
  await ledger.nodes.register(aKnownNode({ id: 'gpu-c', catalog: pictureCatalog, report: owned }))
  const nodeC = ({ nodes }: FleetUpdate) => nodes.find(({ id }) => id === 'gpu-c')
  t.equal(nodeC(await next(update => nodeC(update) !== undefined))?.restartable, true)
  await ledger.nodes.wishRestart('gpu-c', 'wish')
  t.equal(nodeC(await next(update => nodeC(update)?.restartable === false))?.state, 'draining', 'asked once is enough')
  t.equal(seen.filter(update => update.isWhole).length, 1)
  const history = await next(update => update.history !== undefined)
  t.match(history.history, { 'gpu-a': { utilization: [50], vram: [50], busy: [0] } })
})

const garbage = [
  ...['', 'not JSON', 'null', '[]', '7', '"text"', '{', 'x'.repeat(300_000)],
  ...[
    '{"comfyui":null}',
    '{"gpus":{"0":1}}',
    '{"gpus":[null]}',
    '{"resident":"all"}',
    '{"host":{"cpuUtilization":"high"}}'
  ],
  ...['{"comfyui":{"up":"yes","version":1}}', '{"progress":{"percent":1e999}}', '{"progress":{"percent":250}}'],
  JSON.stringify(aReport({ resident: [{ toString: 1 } as unknown as string] })),
  JSON.stringify(aReport({ gpus: [{ ...gpu, utilization: 'NaN' as unknown as number }] }))
]

const states = (a: string, b: string) => [
  { id: 'gpu-a', state: a },
  { id: 'gpu-b', state: b }
]

t.test('a node that reports garbage is named and spoils nothing for the others', async t => {
  const { url, ledger, redis, feed } = await open(t)
  const { node: nodeKey, preview, progress } = createKeys(ledger.prefix)
  await ledger.nodes.register(aNode('gpu-b'))
  const task = await accept(url)
  for (const report of garbage) {
    await redis.hset(nodeKey('gpu-b'), { report, labels: report, intent: 'perhaps' })
    const answer = await fetch(`${url}/api/v1/nodes`)
    t.match([answer.status, await answer.json()], [200, { data: states('ready', 'down') }], report.slice(0, 60))
    for (const path of ['nodes/gpu-b', 'fleet', `tasks/${task.id}`, `tasks/${task.id}/timeline`])
      t.equal((await fetch(`${url}/api/v1/${path}`)).status, 200, path)
  }
  feed.begin()
  const { next } = await watch(t, url)
  const { nodes, totals } = await next(update => update.isWhole)
  t.match(nodes, [{ trouble: null }, { trouble: /cannot be read/, gpus: 0, resident: [], attempt: null }])
  t.match(totals.nodes, { ready: 1, down: 1 })
  await ledger.nodes.heartbeat('gpu-b', 'e', aReport(), 'ready', undefined)
  t.match(await next(update => update.nodes.length > 0), { nodes: [{ id: 'gpu-b', state: 'ready', trouble: null }] })
  const other = await accept(url)
  t.equal(other.state, 'queued', 'admission asks what all nodes can run')
  const follower = await fetch(`${url}/api/v1/tasks/${task.id}/events?previews=1`)
  const reader = follower.body!.pipeThrough(new TextDecoderStream()).getReader()
  await reader.read()
  for (const text of garbage) {
    await redis.publish(progress(), `${task.id} ${text}`)
    await redis.publish(preview(task.id), text)
  }
  t.equal((await fetch(`${url}/livez`)).status, 200, 'nor does what it says of its work')
  await reader.cancel()
})

t.test('nobody looks: the ledger is read for the history only; closing the server ends the streams', async t => {
  const { url, feed } = await open(t)
  feed.begin()
  const first = await watch(t, url)
  await first.next(update => update.isWhole)
  t.equal(feed.viewers(), 1)
  first.end()
  await eventually(() => feed.viewers() === 0 || undefined)
  const streams = await Promise.all(Array.from({ length: 100 }, () => watch(t, url)))
  const refused = await fetch(`${url}/api/v1/fleet/events`)
  t.match([refused.status, await refused.json()], [429, { code: 'rate-limited' }], 'one more than a hundred')
  for (const stream of streams) stream.end()
  await eventually(() => feed.viewers() === 0 || undefined)
})

const aUpdate = (isWhole: boolean, at: string): FleetUpdate => ({
  ...{ at, isWhole, nodes: [], gone: [], sampleSeconds: 5, logdyUrl: null },
  totals: {
    ...{ nodes: {}, running: 0, queued: 0, delayed: 0, oldestAt: null },
    ...{ windowSeconds: 0, succeeded: 0, failed: 0, reloadShare: null }
  },
  ended: ['one', 'two'].map(tenant => ({
    ...{ id: `task_${tenant}`, tenant, state: 'succeeded', node: null, attempt: 1, models: [], finishedAt: at },
    ...{ queuedSeconds: 0, ranSeconds: 0, reloaded: false, outputs: 0, picture: null, error: null }
  }))
})

t.test(
  'a browser that stops reading misses updates, gets everything when it reads again, and is let go in the end',
  async t => {
    let nowMs = 0
    const viewers = createFleetViewers(() => nowMs)
    const written: FleetUpdate[] = []
    const response = Object.assign(new EventEmitter(), {
      writableLength: 0,
      isDestroyed: false,
      write: (text: Buffer) => void written.push(JSON.parse(text.toString().slice(6))),
      destroy() {
        this.isDestroyed = true
      }
    })
    const remove = viewers.add({ response: response as unknown as ServerResponse, tenant: 'one' })
    const publish = () => viewers.publish({ whole: aUpdate(true, `w${nowMs}`), change: aUpdate(false, `c${nowMs}`) })
    publish()
    nowMs = 1_000
    publish()
    response.writableLength = 1
    for (nowMs = 2_000; nowMs <= 20_000; nowMs += 1_000) publish()
    response.writableLength = 0
    publish()
    t.same(
      written.map(({ at }) => at),
      ['w0', 'c1000', 'w21000']
    )
    t.same(
      written.flatMap(({ ended }) => ended?.map(({ tenant }) => tenant)),
      ['one', 'one', 'one'],
      'tasks of other tenants are not shown'
    )
    t.equal(response.isDestroyed, false)
    response.writableLength = 1
    for (let i = 0; i < 40; i++, nowMs += 1_000) publish()
    t.equal(response.isDestroyed, true)
    t.equal(written.length, 3, 'nothing piled up')
    remove()
    t.equal(viewers.size, 0)
  }
)

t.test('the history holds ten minutes, with gaps; throughput is what the totals grew by', async t => {
  const { ledger } = await open(t)
  const { nodes } = await ledger.nodes.list()
  const history = createNodeHistory()
  for (let i = 0; i < 130; i++) history.sample(nodes, () => i !== 129)
  const { utilization, busy } = history.all()['gpu-a']!
  t.same([utilization.length, utilization.at(-1), utilization.at(-2), busy.at(-2)], [120, null, 50, 0])
  history.sample([], () => true)
  t.same(history.all(), {})

  const throughput = createThroughput()
  t.match(throughput.window(), { windowSeconds: 0, succeeded: 0 })
  for (let i = 0; i <= 300; i++) throughput.sample(i * 5_000, { succeeded: 2 * i, failed: i > 290 ? 1 : 0, expired: 0 })
  t.same(throughput.window(), { windowSeconds: 600, succeeded: 240, failed: 1 })
  throughput.sample(1_505_000, { succeeded: 0 })
  t.same(throughput.window(), { windowSeconds: 0, succeeded: 0, failed: 0 }, 'a ledger that began anew')
})

t.test('the timeline of a task says what it waits for, why it went where it went, and what it runs', async t => {
  const { url, ledger, claim } = await open(t)
  const timelineOf = async (id: string) =>
    (await (await fetch(`${url}/api/v1/tasks/${id}/timeline`)).json()) as TaskTimeline
  const [first, second] = [await accept(url), await accept(url)]
  t.match(await timelineOf(second.id), {
    ...{ tenant: 'default', models: [], choice: null },
    waitingFor: { ahead: 1, free: 1, busy: 0, away: 0 },
    graph: [
      { id: '1', classType: 'EmptyImage', from: [] },
      { id: '9', classType: 'SaveImage', from: ['1'] }
    ],
    events: [{ type: 'task.queued' }]
  })
  await claim(first.id)
  await ledger.attempts.start(first.id, first.id)
  t.match(await timelineOf(second.id), { waitingFor: { ahead: 0, free: 0, busy: 1, away: 0 } })
  t.match(await timelineOf(first.id), {
    choice: { score: 3.5, loadSeconds: 1.5, runnerUp: { node: 'gpu-b', seconds: 9 }, nodes: 3 },
    waitingFor: null,
    events: [{ type: 'task.queued' }, { type: 'task.dispatched', node: 'gpu-a' }, { type: 'task.started' }]
  })
  await ledger.nodes.drain('gpu-a', true)
  t.match(await timelineOf(second.id), { waitingFor: { free: 0, busy: 0, away: 1 } })
  await ledger.attempts.fail(first.id, first.id, problem('comfyui-execution-error', 'it broke'), 1)
  t.match(await timelineOf(first.id), { events: [{}, {}, {}, { type: 'task.failed' }] })
  t.equal((await fetch(`${url}/api/v1/tasks/task_${'0'.repeat(32)}/timeline`)).status, 404)
})

t.test('a key signs a browser in: its cookie is worth the key, for pages of this service only', async t => {
  const { url, ledger, feed, claim } = await open(t, 'keys')
  feed.begin()
  const key = async (tenant: string, granted: readonly Scope[]) => {
    const { text, record } = await ledger.apiKeys.create({
      tenant,
      name: `${tenant}'s`,
      scopes: granted,
      lifetimeMs: undefined
    })
    return { id: record.id, headers: { authorization: `Bearer ${text}` } }
  }
  const signIn = async (headers: Record<string, string>) => {
    const answer = await fetch(`${url}/api/v1/session`, { method: 'POST', headers })
    const cookie = answer.headers.get('set-cookie') ?? ''
    return {
      status: answer.status,
      session: (await answer.json()) as Session,
      cookie,
      headers: { cookie: cookie.split(';')[0]! }
    }
  }
  const operator = await key('ops', ['admin'])
  const pmc = await key('pmc', ['tasks:read', 'tasks:write', 'workflows:raw', 'nodes:read'])
  t.equal((await signIn({})).status, 401)
  t.equal((await signIn((await key('x', ['tasks:read'])).headers)).status, 403, 'a key that may not see the fleet')

  const signed = await signIn(operator.headers)
  t.match(signed, { status: 200, session: { tenant: 'ops', keyName: "ops's", scopes: [...scopes] } })
  t.match(signed.cookie, /^cb_session=[\w-]{43}; Max-Age=28800; HttpOnly; SameSite=Strict$/)
  t.match((await signIn({ ...operator.headers, 'x-forwarded-proto': 'https' })).cookie, /; Secure$/)
  const ask = (path: string, headers: Record<string, string>, method = 'GET') =>
    fetch(url + path, { method, headers: { ...signed.headers, ...headers } })
  t.match(await (await ask('/api/v1/session', {})).json(), { tenant: 'ops' })

  const drain = '/api/v1/nodes/gpu-a/drain'
  for (const [headers, status] of [
    [{}, 403],
    [{ 'sec-fetch-site': 'cross-site', origin: url }, 403],
    [{ 'sec-fetch-site': 'same-site' }, 403],
    [{ origin: 'http://elsewhere.example' }, 403],
    [{ origin: 'null' }, 403],
    [{ 'sec-fetch-site': 'same-origin' }, 200],
    [{ origin: url }, 200],
    [{ origin: 'https://ops.example', 'x-forwarded-host': 'ops.example' }, 200]
  ] as const) {
    t.equal((await ask(drain, headers, 'POST')).status, status, JSON.stringify(headers))
  }
  t.equal((await ask('/api/v1/session', { cookie: 'cb_session=x' })).status, 401)
  t.match(await (await ask('/api/v1/session', { cookie: `cb_session=${'x'.repeat(43)}` })).json(), {
    detail: /sign in again/
  })
  t.equal(
    (await ask('/api/v1/session', { authorization: 'Bearer nonsense' })).status,
    401,
    'a key counts before a cookie'
  )

  const theirs = await accept(url, pmc.headers)
  await ledger.tasks.cancel(theirs.id, 'pmc')
  const endedOf = async (headers: Record<string, string>) => {
    const { next } = await watch(t, url, headers)
    return (await next(update => update.isWhole)).ended?.map(({ id }) => id)
  }
  t.same(await endedOf(signed.headers), [theirs.id], 'an operator sees the tasks of all')
  t.equal((await ask(`/api/v1/tasks/${theirs.id}`, {})).status, 200)
  const other = (await key('other', ['nodes:read'])).headers
  t.same(await endedOf(other), [], 'others their own')
  const [running] = [await accept(url, pmc.headers), await accept(url, pmc.headers)]
  await ledger.nodes.drain('gpu-a', false)
  t.equal(await claim(running.id), 'claimed')
  for (const [headers, task, queues] of [
    [other, null, []],
    [pmc.headers, running.id, ['pmc']],
    [signed.headers, running.id, ['pmc']]
  ] as const) {
    const { next } = await watch(t, url, headers)
    const seen = await next(update => update.nodes[0]?.attempt != null)
    t.equal(seen.nodes[0]?.attempt?.task, task)
    t.same(
      seen.queues?.map(({ tenant }) => tenant),
      queues
    )
  }

  t.equal((await ask('/api/v1/session', { 'sec-fetch-site': 'same-origin' }, 'DELETE')).status, 200)
  await eventually(async () => (await ask('/api/v1/session', {})).status === 401 || undefined)
  const again = await signIn(operator.headers)
  await ledger.apiKeys.revoke(operator.id)
  await eventually(
    async () => (await fetch(`${url}/api/v1/session`, { headers: again.headers })).status === 401 || undefined
  )
})

t.test('500 nodes and 280 queues: an update stays small and cheap', async t => {
  const { ledger, claim } = await open(t)
  const ids = Array.from({ length: 500 }, (_, i) => `gpu-${i}`)
  await Promise.all(ids.map(id => ledger.nodes.register(aNode(id))))
  const task = (i: number) =>
    ledger.tasks.enqueue({
      ...{ id: `task_${randomUUID().replaceAll('-', '')}`, tenant: `t${i % 40}`, body: '{}', outputs: ['9'], work: 1 },
      ...{ fingerprint: 'f', priority: 50, timeoutSeconds: 600, deadlineSeconds: 3_600, clientId: undefined },
      ...{ metadata: {}, idempotency: undefined },
      need: {
        ...{ classes: ['EmptyImage'], files: [], labels: {} },
        models: [{ classType: 'L', input: 'm', value: `m${i % 7}.safetensors` }]
      }
    } as Parameters<typeof ledger.tasks.enqueue>[0])
  for (let i = 0; i < 2_000; i += 500) await Promise.all(Array.from({ length: 500 }, (_, k) => task(i + k)))
  const tokens = (await Promise.all(ids.map((_, i) => task(i)))).map(accepted => ('id' in accepted ? accepted.id : ''))
  await Promise.all(tokens.map((id, i) => claim(id, ids[i]!)))

  const feed = createFleetFeed({ ledger, log: logger, logdyUrl: undefined })
  t.teardown(() => feed.stop())
  const sizes: number[] = []
  const response = { writableLength: 0, write: (text: Buffer) => void sizes.push(text.length) }
  feed.add({ response: response as unknown as ServerResponse, tenant: undefined })
  feed.begin()
  await eventually(() => sizes.length >= 2 || undefined)
  const before = process.cpuUsage()
  await eventually(() => sizes.length >= 7 || undefined)
  const { user, system } = process.cpuUsage(before)
  const cpuMs = (user + system) / 5_000
  const busier = aReport({ gpus: [{ ...gpu, utilization: 0.9 }] })
  const told = sizes.length
  await Promise.all(ids.map((id, i) => ledger.nodes.heartbeat(id, 'e', busier, 'ready', tokens[i])))
  await eventually(() => sizes.length >= told + 2 || undefined)
  t.comment(
    `whole ${sizes[0]} bytes, a change of all nodes ${Math.max(...sizes.slice(1))}, ${cpuMs.toFixed(0)} ms of CPU an update, tests included`
  )
  t.ok(sizes[0]! < 1_500_000, `everything in ${sizes[0]} bytes`)
  t.ok(Math.max(...sizes.slice(1)) < 600_000)
  t.ok(cpuMs < 400, 'CPU, not time: other programs do not count')
})
