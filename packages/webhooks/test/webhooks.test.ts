import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Task } from '@comfy-balancer/contract/task'
import type { DeliveryState, WebhookMessage } from '@comfy-balancer/contract/webhook'
import { readConfig } from '@comfy-balancer/service-kit/config'
import { createMetrics } from '@comfy-balancer/service-kit/metrics'
import { connect } from '@comfy-balancer/task-store/connection'
import { createHints } from '@comfy-balancer/task-store/hints'
import { createLedger } from '@comfy-balancer/task-store/ledger'
import { openScratchLedger } from '@comfy-balancer/task-store/scratch-ledger'
import { aNode } from '@comfy-balancer/task-store/scratch-node'
import { Type } from '@sinclair/typebox'
import { Webhook } from 'standardwebhooks'
import t, { type Test } from 'tap'
import { pausesOf, webhookConfig, webhookRule } from '../src/config.ts'
import { createDeliveryQueue } from '../src/delivery-queue.ts'
import { HostGate } from '../src/host-gate.ts'
import { messageOf } from '../src/message.ts'
import { pauseAfter } from '../src/retry-schedule.ts'
import { createWebhookTally } from '../src/tally.ts'
import { startWebhooks } from '../src/webhooks.ts'

const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, fatal() {} }
const terminal = ['task.succeeded', 'task.failed', 'task.cancelled', 'task.expired']
const every = ['task.queued', 'task.dispatched', 'task.started', 'task.output', 'task.retried', ...terminal]

const until = async <T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false
): Promise<T> => {
  const end = Date.now() + 60_000
  for (;;) {
    const found = await look()
    if (found) return found
    if (Date.now() > end) throw new Error(`never: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

type Got = { readonly path: string; readonly headers: IncomingHttpHeaders; readonly body: string }

/** A receiver on this machine whose answers the test chooses; it remembers what it was sent. */
const openReceiver = async (t: Test) => {
  const got: Got[] = []
  const taken: Got[] = []
  const receiver = {
    got,
    /** What it answered with 200. */
    taken,
    messages: (path: string) =>
      taken.filter(one => one.path === path).map(one => JSON.parse(one.body) as WebhookMessage),
    answer: (_: Got, response: ServerResponse): void => void response.writeHead(200).end(),
    port: 0
  }
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const one = { path: request.url ?? '', headers: request.headers, body }
    got.push(one)
    response.on('finish', () => response.statusCode === 200 && taken.push(one))
    receiver.answer(one, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  receiver.port = (server.address() as AddressInfo).port
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return receiver
}

/** A ledger of its own with one node that the test plays by hand, and a way to start what delivers. */
const open = async (t: Test, env: Record<string, string> = {}) => {
  const scratch = openScratchLedger()
  const { ledger } = scratch
  const receiver = await openReceiver(t)
  const config = readConfig(Type.Object(webhookConfig), { WEBHOOK_RETRY_SECONDS: '1,1,1,1,1,1,1,1,1,1', ...env }, [
    webhookRule
  ])
  const metrics = createMetrics()
  const tally = createWebhookTally(metrics)
  const triedAs = async (outcome: string): Promise<number> =>
    (await metrics.registry.getSingleMetric('comfy_webhook_deliveries_total')!.get()).values.find(
      ({ labels }) => labels.outcome === outcome
    )!.value
  const stops: (() => Promise<void>)[] = []
  const start = async (more: { allow?: string[]; ports?: number[] } = {}) => {
    const connection = await connect({ ...scratch.redis.options }, quiet)
    const hints = await createHints(connection.subscriber, connection.commands, ledger.prefix)
    const own = createLedger(connection.commands, ledger.prefix)
    const stopLoops = startWebhooks(config, {
      connection,
      hints,
      ledger: own,
      log: quiet,
      tally,
      urlRules: {
        allowPrivateCidrs: more.allow ?? ['127.0.0.0/8'],
        portsAllow: [receiver.port, ...(more.ports ?? [])],
        allowHttp: true
      },
      viewOf: async ({ id, state }) => ({ id, state }) as Task
    })
    const stop = async () => {
      await stopLoops()
      await connection.close()
    }
    stops.push(stop)
    return stop
  }
  t.teardown(async () => {
    await Promise.all(stops.map(stop => stop()))
    await scratch.close()
  })
  let count = 0
  const accept = async (events: readonly string[], path = '/hook', port = receiver.port): Promise<string> => {
    const id = `task_${Date.now().toString(16).padStart(12, '0')}${String(++count).padStart(20, '0')}`
    await ledger.tasks.enqueue({
      id,
      tenant: 'default',
      body: '{}',
      need: { classes: [], models: [], files: [], labels: {} },
      outputs: [],
      work: 1,
      fingerprint: 'f',
      priority: 50,
      timeoutSeconds: 60,
      deadlineSeconds: 600,
      clientId: undefined,
      metadata: {},
      webhook: { url: `http://127.0.0.1:${port}${path}`, events },
      idempotency: undefined
    })
    return id
  }
  await ledger.nodes.register(aNode({ id: 'n' }))
  const claim = (task: string, nonce: string) =>
    ledger.attempts.claim({ node: 'n', epoch: 'e', task, nonce, predictedSeconds: 1, why: {}, overtakes: [] })
  const states = async (task: string): Promise<DeliveryState[]> => {
    const ids = await ledger.deliveries.list('default', { task }, 200)
    const found = await Promise.all(ids.map(id => ledger.deliveries.find(id, 'default')))
    return found.map(one => one!.state).reverse()
  }
  return { ledger, redis: scratch.redis, receiver, start, accept, claim, states, triedAs }
}

const spent = { gpuSeconds: 1, loadSeconds: 0, executionSeconds: 1, loaded: false }

t.test('a pause follows the schedule, what the receiver asks for, and ends with the last try', async t => {
  const pauses = pausesOf('5,300,1800')
  const after = (tries: number, more: { ageMs?: number; retryAfter?: string } = {}) =>
    pauseAfter({ tries, ageMs: 0, retryAfter: undefined, ...more }, pauses, () => 0)
  t.same([after(0), after(1), after(2), after(3)], [5_000, 300_000, 1_800_000, undefined])
  t.equal(
    pauseAfter({ tries: 0, ageMs: 0, retryAfter: undefined }, pauses, () => 1),
    5_500,
    'a tenth more at most'
  )
  t.equal(after(0, { retryAfter: '60' }), 60_000)
  t.equal(after(1, { retryAfter: '60' }), 300_000, 'never sooner than the schedule')
  t.equal(after(0, { retryAfter: '99999999' }), 24 * 3_600_000, 'never later than a day')
  t.equal(after(0, { retryAfter: 'soon' }), 5_000)
  const inAMinute = after(0, { retryAfter: new Date(Date.now() + 60_000).toUTCString() })!
  t.ok(inAMinute > 50_000 && inAMinute <= 60_000, 'as a date')
  t.equal(after(0, { ageMs: 6_000_000 }), undefined, 'one try for what waited as long as the whole schedule')
  t.equal(after(2, { ageMs: 6_000_000 }), 1_800_000, 'what was tried before goes through its schedule')
  t.throws(() => readConfig(Type.Object(webhookConfig), { WEBHOOK_RETRY_SECONDS: '5,9999999' }, [webhookRule]))
  t.throws(() => readConfig(Type.Object(webhookConfig), { WEBHOOK_RETRY_SECONDS: '900000,900000' }, [webhookRule]))
})

t.test('a host takes few at once, one when it fails, and calls the others back one after the other', async t => {
  const gate = new HostGate(2)
  t.equal(gate.enter('a', 0), 'in')
  t.equal(gate.enter('a', 0), 'in')
  const [first, second] = [gate.enter('a', 0), gate.enter('a', 0)] as [number, number]
  t.ok(first > 0 && second > first, 'each a later time')
  t.equal(gate.enter('b', 0), 'in', 'another host is not concerned')
  gate.leave('a', { tookMs: 15_000, answered: false })
  t.not(gate.enter('a', 0), 'in', 'one that does not answer gets one at a time')
  gate.leave('a', { tookMs: 10, answered: true })
  t.same([gate.enter('a', 0), gate.enter('a', 0)], ['in', 'in'])
  const late = Array.from({ length: 1_000 }, () => gate.enter('a', 0)) as number[]
  t.ok(Math.max(...late) <= 60_000)
})

t.test('a message too large to post goes without its task', async t => {
  const event = { type: 'task.failed' as const, taskId: 'task_1', version: 3, at: '2026-01-01T00:00:00.000Z' }
  const whole = { ...event, state: 'failed' as const, attempt: 1, node: null }
  const task = { id: 'task_1', metadata: { text: 'x'.repeat(300_000) } } as unknown as Task
  t.same(JSON.parse(messageOf(whole, task)), {
    type: 'task.failed',
    timestamp: event.at,
    data: { event: whole, task: null }
  })
})

t.test('subscribed events arrive in order, signed as Standard Webhooks asks; others do not', async t => {
  const { ledger, receiver, start, accept, claim, triedAs } = await open(t)
  await start()
  const [current] = await ledger.webhookSecrets.rotate('default', undefined, 0)
  const all = await accept(every, '/all')
  const ends = await accept(terminal, '/ends')
  await claim(all, 'one')
  await ledger.attempts.start(all, 'one')
  await ledger.attempts.complete(all, 'one', [], spent)
  await ledger.tasks.cancel(ends, 'default')
  const types = (path: string) => receiver.messages(path).map(({ type }) => type)
  await until('all have arrived', () => types('/all').length === 4 && types('/ends').length === 1)
  t.same(types('/all'), ['task.queued', 'task.dispatched', 'task.started', 'task.succeeded'])
  t.same(types('/ends'), ['task.cancelled'])
  await until('each is counted', async () => (await triedAs('delivered')) === 5)
  t.equal(await triedAs('failed'), 0)
  for (const { headers, body } of receiver.taken) {
    const verified = new Webhook(current.secret).verify(body, headers as Record<string, string>) as WebhookMessage
    const { taskId, version } = verified.data.event
    t.equal(headers['webhook-id'], `${taskId}-${version}`)
    t.equal(verified.data.task?.id, taskId)
    t.equal(verified.timestamp, verified.data.event.at)
    t.throws(() => new Webhook(current.secret).verify(`${body} `, headers as Record<string, string>))
  }
  t.match(receiver.messages('/all').at(-1), { data: { event: { state: 'succeeded' }, task: { state: 'succeeded' } } })
})

t.test('while a secret is being replaced both it and its successor verify', async t => {
  const { ledger, receiver, start, accept, redis } = await open(t)
  await start()
  await accept(['task.queued'])
  await until('the first has arrived', () => receiver.taken.length === 1)
  const [unseen] = JSON.parse((await redis.get(`${ledger.prefix}webhook-secrets:default`))!) as [{ secret: string }]
  const mine = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
  const former = await ledger.webhookSecrets.rotate('default', mine, 3_600_000)
  t.same(await ledger.webhookSecrets.rotate('default', mine, 3_600_000), former, 'said twice it is one change')
  await accept(['task.queued'])
  await until('the second has arrived', () => receiver.taken.length === 2)
  const verifies = (one: Got, secret: string): boolean => {
    try {
      return Boolean(new Webhook(secret).verify(one.body, one.headers as Record<string, string>))
    } catch {
      return false
    }
  }
  t.same(
    receiver.taken.map(one => [verifies(one, unseen.secret), verifies(one, mine)]),
    [
      [true, false],
      [true, true]
    ]
  )
  await ledger.webhookSecrets.rotate('default', undefined, 0)
  t.same(
    (await ledger.webhookSecrets.current('default')).filter(one => one === mine),
    [],
    'without overlap it is over'
  )
})

t.test('what a receiver missed arrives in order when it is back, however long the task went on', async t => {
  const { ledger, receiver, start, accept, claim, states } = await open(t)
  receiver.answer = (_, response) => void response.writeHead(503).end()
  await start()
  const task = await accept(every)
  for (let i = 0; i < 30; i++) {
    await claim(task, `try ${i}`)
    await ledger.attempts.start(task, `try ${i}`)
    await ledger.attempts.release('n', `try ${i}`)
  }
  await ledger.tasks.cancel(task, 'default')
  t.equal((await ledger.tasks.journal(task, 0)).length, 64, 'the journal has forgotten the first')
  await until('the receiver was tried', () => receiver.got.length > 0)
  t.equal(receiver.taken.length, 0)
  await until('all are owed', async () => (await states(task)).length === 92)
  receiver.answer = (_, response) => void response.writeHead(200).end()
  await until('all have arrived', () => receiver.taken.length >= 92)
  const versions = receiver.messages('/hook').map(({ data }) => data.event.version)
  t.same(
    versions,
    Array.from({ length: 92 }, (_, i) => i + 1)
  )
  t.same([...new Set(await states(task))], ['delivered'])
})

t.test('a task that is added while its job is at work is looked at again, and never by two at once', async t => {
  const { ledger, redis, close } = openScratchLedger()
  const looks = new Map<string, number>()
  const atWork = new Set<string>()
  let overlaps = 0
  const options = { redis, prefix: ledger.prefix, concurrency: 8, log: quiet }
  const work = async (task: string): Promise<number | undefined> => {
    if (atWork.has(task)) overlaps++
    atWork.add(task)
    const count = (looks.get(task) ?? 0) + 1
    looks.set(task, count)
    if (count < 3) await Promise.all(queues.map(queue => queue.add(task)))
    atWork.delete(task)
    return task === 'patient' && count > 2 ? 3_600_000 : undefined
  }
  const queues = [createDeliveryQueue({ ...options, work }), createDeliveryQueue({ ...options, work })]
  t.teardown(async () => {
    await Promise.all(queues.map(queue => queue.close()))
    await close()
  })
  const tasks = ['patient', ...Array.from({ length: 20 }, (_, i) => `task ${i}`)]
  for (const task of tasks) await queues[0]!.add(task)
  await until('each was looked at thrice', () => tasks.every(task => looks.get(task) === 3))
  await queues[1]!.add('patient')
  await until('the one that waits was woken', () => looks.get('patient') === 4)
  t.equal(overlaps, 0)
})

t.test('several processes share the work; events survive those that go, and keep their order', async t => {
  const { ledger, receiver, start, accept, claim } = await open(t)
  let isUp = false
  receiver.answer = (_, response) => void response.writeHead(isUp ? 200 : 500).end()
  const stop = await start()
  const tasks = await Promise.all(Array.from({ length: 20 }, (_, i) => accept(every, `/${i}`)))
  await until('each was tried', () => new Set(receiver.got.map(({ path }) => path)).size === 20)
  await stop()
  for (const task of tasks) {
    await claim(task, task)
    await ledger.attempts.start(task, task)
    await ledger.attempts.complete(task, task, [], spent)
  }
  await Promise.all([start(), start(), start()])
  isUp = true
  const wanted = ['task.queued', 'task.dispatched', 'task.started', 'task.succeeded']
  for (const [i] of tasks.entries()) {
    await until(`task ${i} is told whole`, () => receiver.messages(`/${i}`).length === 4)
    t.same(
      receiver.messages(`/${i}`).map(({ type }) => type),
      wanted
    )
  }
  await until('nothing is left in the outbox', async () => (await ledger.deliveries.outbox(1)).length === 0)
})

t.test('410 ends it for that task; a redirect and a used-up schedule do not count as taken', async t => {
  const { ledger, receiver, start, accept, states, triedAs } = await open(t, { WEBHOOK_RETRY_SECONDS: '0,0' })
  receiver.answer = ({ path }, response) => {
    if (path === '/gone') return void response.writeHead(410).end()
    if (path === '/moved') return void response.writeHead(307, { location: '/elsewhere' }).end()
    response.writeHead(path === '/broken' ? 500 : 200).end()
  }
  await start()
  const gone = await accept(['task.queued', 'task.cancelled'], '/gone')
  await until('it is over', async () => (await states(gone))[0] === 'failed')
  await ledger.tasks.cancel(gone, 'default')
  for (const path of ['/moved', '/broken']) {
    const task = await accept(['task.queued', 'task.cancelled'], path)
    await ledger.tasks.cancel(task, 'default')
    await until('both are given up', async () => (await states(task)).filter(state => state === 'failed').length === 2)
    const order = receiver.got.filter(one => one.path === path).map(one => JSON.parse(one.body).type)
    t.same(
      order,
      [...Array(3).fill('task.queued'), ...Array(3).fill('task.cancelled')],
      `${path}: three tries each, in order`
    )
  }
  t.equal(receiver.got.filter(({ path }) => path === '/gone').length, 1)
  t.equal(receiver.got.filter(({ path }) => path === '/elsewhere').length, 0)

  receiver.answer = (_, response) => void response.writeHead(200).end()
  const [id] = (await ledger.deliveries.list('default', { task: gone }, 1)) as [string]
  const failed = await ledger.deliveries.find(id, 'default')
  t.match(failed, { state: 'failed', status: 410, tries: 1 })
  t.equal(await triedAs('gone'), 1)
  t.equal(await ledger.deliveries.redeliver({ ...failed!, tenant: 'other' }), 'not-found')
  t.equal(await ledger.deliveries.redeliver(failed!), 'owed')
  await until('it has arrived after all', () => receiver.messages('/gone').length === 1)
  t.match(receiver.taken.find(({ path }) => path === '/gone')?.headers, { 'webhook-id': id })
})

t.test('a receiver that never answers does not hold back the others', async t => {
  const { receiver, start, accept } = await open(t, { WEBHOOK_TIMEOUT_SECONDS: '30', WEBHOOK_CONCURRENCY: '8' })
  const deaf = await openReceiver(t)
  deaf.answer = () => {}
  await start({ ports: [deaf.port] })
  for (let i = 0; i < 40; i++) await accept(['task.queued'], '/deaf', deaf.port)
  await until('it was called', () => deaf.got.length > 0)
  for (let i = 0; i < 10; i++) await accept(['task.queued'], `/${i}`)
  await until('the others have theirs', () => receiver.taken.length === 10)
  t.ok(deaf.got.length <= 4, 'while so few calls wait there')
})

t.test('what may be called is checked at every try, not only when the task was accepted', async t => {
  const { ledger, receiver, start, accept } = await open(t, { WEBHOOK_RETRY_SECONDS: '0' })
  await start({ allow: [] })
  const task = await accept(['task.queued'])
  const failed = await until('it is given up', async () => {
    const [id] = await ledger.deliveries.list('default', { task }, 1)
    const found = id === undefined ? undefined : await ledger.deliveries.find(id, 'default')
    return found?.state === 'failed' && found
  })
  t.match(failed, { tries: 2, status: undefined, error: /private address/ })
  t.same(receiver.got, [])
})
