import { randomUUID } from 'node:crypto'
import type { NodeReport } from '@comfy-balancer/contract/node'
import { problem } from '@comfy-balancer/contract/problem'
import { learn, noDurations, noPace, type Pace } from '@comfy-balancer/domain/prediction'
import t, { type Test } from 'tap'
import { connect, serverFault } from '../src/connection.ts'
import type { InputRecord } from '../src/inputs.ts'
import { createKeys } from '../src/keys.ts'
import type { Limits } from '../src/limits.ts'
import { linkScript } from '../src/link-script.ts'
import type { NewTask } from '../src/new-task.ts'
import { openHeldLedger, openScratchLedger } from '../src/scratch-ledger.ts'
import type { Accepted } from '../src/tasks.ts'

const open = (t: Test, limits: Partial<Limits> = {}) => {
  const { ledger, redis, close } = openScratchLedger(limits)
  t.teardown(close)
  return { ...ledger, redis, keys: createKeys(ledger.prefix) }
}
type Opened = ReturnType<typeof open>

/** A ledger whose time stands still; `at` moves it to so many ms after its beginning. */
const openHeld = async (t: Test, limits: Partial<Limits> = {}) => {
  const { ledger, redis, setTime, close } = openHeldLedger(limits)
  t.teardown(close)
  const at = (ms: number) => setTime(1_700_000_000_000 + ms)
  await at(0)
  return { ledger: { ...ledger, redis, keys: createKeys(ledger.prefix) }, at }
}

const aReport = (resident: string[] = []): NodeReport => ({
  comfyui: { up: true, version: '0.3.64', queueRemaining: 0, foreign: 0 },
  gpus: [],
  host: { cpuUtilization: null, memoryTotalBytes: null, memoryUsedBytes: null },
  resident,
  catalog: 'c1',
  progress: null
})

const aTask = (more: Partial<NewTask> = {}): NewTask => ({
  id: `task_${randomUUID().replaceAll('-', '')}`,
  tenant: 'default',
  body: '{"prompt":{}}',
  fingerprint: 'f1',
  need: { classes: ['A'], models: [], files: [], labels: {} },
  outputs: ['9'],
  work: 1,
  priority: 50,
  timeoutSeconds: 600,
  deadlineSeconds: 3_600,
  clientId: undefined,
  metadata: {},
  idempotency: undefined,
  ...more
})

const enqueue = async (ledger: Opened, more: Partial<NewTask> = {}): Promise<string> => {
  const task = aTask(more)
  const accepted = await ledger.tasks.enqueue(task)
  if (accepted.kind !== 'accepted') throw new Error(accepted.kind)
  return task.id
}

const register = (
  ledger: Opened,
  id: string,
  epoch = 'e1',
  more: { url?: string; adoptToken?: string; report?: NodeReport } = {}
) =>
  ledger.nodes.register({
    id,
    epoch,
    url: more.url ?? `http://${id}`,
    labels: {},
    catalog: { digest: 'c1', text: '{}' },
    files: { digest: 'f1', text: '[]' },
    report: more.report ?? aReport(),
    intent: 'ready',
    adoptToken: more.adoptToken
  })

const claim = (ledger: Opened, task: string, node = 'n1', nonce = 'token-1', epoch = 'e1') =>
  ledger.attempts.claim({ node, epoch, task, nonce, predictedSeconds: 10, why: {}, overtakes: [] })

const beat = (ledger: Opened, token?: string, node = 'n1', epoch = 'e1') =>
  ledger.nodes.heartbeat(node, epoch, aReport(), 'ready', token)

const spent = { gpuSeconds: 4, loadSeconds: 1, executionSeconds: 3, loaded: true }
const anOutput = {
  attempt: 1,
  index: 0,
  path: 'p',
  filename: 'a.png',
  mediaType: 'image/png',
  bytes: 3,
  sha256: 's',
  graphNode: '9',
  kind: 'image',
  durable: true
}

/** Where a task is: in a queue, in back-off or in a slot. While it has not ended it must be in exactly one (S7). */
const places = async (ledger: Opened, id: string): Promise<string[]> => {
  const { redis, keys } = ledger
  const found: string[] = []
  for (const key of await redis.keys(`${keys.queue()}*`)) if (await redis.zscore(key, id)) found.push('queue')
  if (await redis.zscore(keys.delayed(), id)) found.push('delayed')
  for (const key of await redis.keys(`${keys.node()}*`))
    if ((await redis.hget(key, 'slotTask')) === id) found.push('slot')
  return found
}

t.test('a task goes from acceptance to its result, one version and one journal entry a step', async t => {
  const ledger = open(t)
  await register(ledger, 'n1')
  const id = await enqueue(ledger, { metadata: { shotId: 1 }, clientId: 'me' })
  t.same(await places(ledger, id), ['queue'])
  t.equal(await claim(ledger, id), 'claimed')
  t.same(await places(ledger, id), ['slot'])
  t.equal((await ledger.tasks.find(id))?.state, 'leased')
  t.match(await beat(ledger), {
    kind: 'run',
    assignment: { record: { id, state: 'leased', attempt: 1 }, token: 'token-1', body: '{"prompt":{}}' }
  })
  t.equal(await ledger.attempts.start(id, 'token-1'), 'ok')
  t.same(await beat(ledger, 'token-1'), { kind: 'ok' })
  t.equal(await ledger.attempts.output(id, 'token-1', [anOutput]), 'ok')
  t.equal(await ledger.attempts.complete(id, 'token-1', [anOutput], spent), 'ok')
  const record = (await ledger.tasks.find(id))!
  t.match(record, { state: 'succeeded', attempt: 1, node: 'n1', clientId: 'me', metadata: { shotId: 1 }, version: 5 })
  t.same(record.result.outputs, [anOutput])
  const journal = await ledger.tasks.journal(id, 0)
  t.same(
    journal.map(entry => [entry.version, entry.type, entry.state]),
    [
      [1, 'task.queued', 'queued'],
      [2, 'task.dispatched', 'queued'],
      [3, 'task.started', 'running'],
      [4, 'task.output', 'running'],
      [5, 'task.succeeded', 'succeeded']
    ]
  )
  t.same((await ledger.tasks.journal(id, 4)).length, 1, 'a reader resumes after what it has seen')
  t.same(await places(ledger, id), [])
  t.same(await beat(ledger), { kind: 'idle' })
  t.same(await ledger.waiting.backlog(), {
    queuedByTenant: {},
    delayed: 0,
    running: 0,
    finished: { succeeded: 1 },
    failedByCode: {},
    nodeQuarantines: 0
  })
})

t.test('a group is accepted whole or not at all, once', async t => {
  const ledger = open(t, { maxQueued: 3 })
  const aGroup = (size: number, key = 'k') => ({
    id: `group_${randomUUID()}`,
    tenant: 'default',
    tasks: Array.from({ length: size }, () => aTask({ group: 'g', seed: '18446744073709551615' })),
    idempotency: { key, requestHash: 'h' }
  })
  const group = aGroup(2)
  for (const _ of [1, 2]) t.same(await ledger.tasks.enqueueGroup(group), { kind: 'accepted', id: group.id })
  t.same(await ledger.tasks.enqueueGroup(aGroup(1)), { kind: 'replayed', id: group.id })
  t.same(await ledger.tasks.enqueue(aTask({ idempotency: { key: 'k', requestHash: 'other' } })), { kind: 'key-reused' })
  const ids = group.tasks.map(({ id }) => id)
  t.match(await ledger.tasks.findGroup(group.id, 'default'), { id: group.id, tasks: ids })
  t.equal(await ledger.tasks.findGroup(group.id, 'other'), undefined)
  for (const id of ids) {
    t.same(await places(ledger, id), ['queue'])
    t.match(await ledger.tasks.find(id), { state: 'queued', version: 1, group: 'g', seed: '18446744073709551615' })
  }
  const late = aGroup(2, 'later')
  t.same(await ledger.tasks.enqueueGroup(late), { kind: 'queue-full', waiting: 2 })
  t.same(await ledger.tasks.find(late.tasks[0]!.id), undefined)
  t.equal(await ledger.tasks.findGroup(late.id, 'default'), undefined)
  t.same((await ledger.waiting.backlog()).queuedByTenant, { default: 2 })
  t.ok((await ledger.redis.pttl(ledger.keys.group(group.id))) > 3_600_000, 'it has an end, after those of its tasks')
})

t.test('a script gets what it needs of the shared definitions, with the constants in their place', t => {
  const shared = [
    '-- shared',
    'local function deep()',
    '  return K.task',
    'end',
    'local A, B = 1, 2',
    '',
    '-- middle uses deep',
    'local function middle() return deep() + A end',
    'local function unused() return K.gone end'
  ].join('\n')
  const constants = { K: { task: '{cb}:task:', gone: 'gone:' }, L: { leaseMs: 5, why: 'a "b" [c]' } }
  t.equal(
    linkScript(shared, 'return middle(L.leaseMs, L.why, L.unset)', constants),
    [
      'local function deep()',
      '  return [==[{cb}:task:]==]',
      'end',
      'local A, B = 1, 2',
      'local function middle() return deep() + A end',
      'return middle(5, [==[a "b" [c]]==], nil)'
    ].join('\n')
  )
  t.throws(() => linkScript(shared, 'return K.tsak', constants), /names the key tsak/)
  t.end()
})

t.test('every script that is sent again after its reply was lost ends in the same state', async t => {
  const ledger = open(t)
  await register(ledger, 'n1')
  await register(ledger, 'n1')
  const task = aTask({ idempotency: { key: 'k', requestHash: 'h' } })
  for (const _ of [1, 2]) {
    const { task: told, ...answer } = (await ledger.tasks.enqueue(task)) as Accepted & { kind: 'accepted' }
    t.same(answer, { kind: 'accepted', id: task.id })
    const found = await ledger.tasks.find(task.id)
    t.same({ ...told?.standing, nowMs: 0 }, { ...found?.standing, nowMs: 0 }, 'it says how the task stands')
    t.same({ ...told, standing: 0 }, { ...found, standing: 0 })
  }
  t.same(await ledger.tasks.enqueue({ ...task, id: aTask().id }), { kind: 'replayed', id: task.id })
  t.same(await ledger.tasks.enqueue({ ...task, id: aTask().id, idempotency: { key: 'k', requestHash: 'other' } }), {
    kind: 'key-reused'
  })
  t.equal((await ledger.waiting.backlog()).queuedByTenant.default, 1)
  for (const _ of [1, 2]) t.equal(await claim(ledger, task.id), 'claimed')
  t.equal((await ledger.waiting.backlog()).running, 1)
  for (const _ of [1, 2]) t.equal(await ledger.attempts.start(task.id, 'token-1'), 'ok')
  for (const _ of [1, 2]) t.equal(await ledger.attempts.output(task.id, 'token-1', [anOutput]), 'ok')
  for (const _ of [1, 2]) t.equal(await ledger.attempts.complete(task.id, 'token-1', [anOutput], spent), 'ok')
  t.equal(await ledger.attempts.release('n1', 'token-1'), 'not-held')
  t.equal((await ledger.tasks.find(task.id))?.version, 5)
  t.same(await ledger.waiting.backlog(), {
    queuedByTenant: {},
    delayed: 0,
    running: 0,
    finished: { succeeded: 1 },
    failedByCode: {},
    nodeQuarantines: 0
  })
  const other = await enqueue(ledger)
  for (const _ of [1, 2]) t.equal(await ledger.tasks.cancel(other, 'default'), _ === 1 ? 'cancelled' : 'cancelled')
  t.equal((await ledger.tasks.find(other))?.version, 2)
})

t.test('a slot takes one task, a task one slot, and only a live, ready node with its own epoch is claimed', async t => {
  const ledger = open(t, { aliveMs: 400 })
  await register(ledger, 'n1')
  await register(ledger, 'n2')
  const [a, b] = [await enqueue(ledger), await enqueue(ledger)]
  t.equal(await claim(ledger, a, 'n1', 'x', 'old'), 'stale-node')
  t.equal(await claim(ledger, a, 'n1', 'x'), 'claimed')
  t.equal(await claim(ledger, b, 'n1', 'y'), 'occupied')
  t.equal(await claim(ledger, a, 'n2', 'y'), 'not-queued')
  await ledger.nodes.heartbeat('n2', 'e1', aReport(), 'draining', undefined)
  t.equal(await claim(ledger, b, 'n2', 'y'), 'not-ready')
  await beat(ledger, undefined, 'n2')
  await until(
    async () => (await claim(ledger, b, 'n2', 'y')) === 'not-ready',
    'a silent node is not claimed',
    2_000,
    async () => {
      await ledger.attempts.release('n2', 'y')
    }
  )
  t.pass('silent node refused')
})

t.test('writes with another token are refused and change nothing', async t => {
  const ledger = open(t)
  await register(ledger, 'n1')
  await register(ledger, 'n2')
  const id = await enqueue(ledger)
  await claim(ledger, id, 'n1', 'first')
  await ledger.attempts.start(id, 'first')
  t.equal(await ledger.nodes.suspect('n1', 'e1'), id)
  await claim(ledger, id, 'n2', 'second')
  const read = async () => {
    const { standing: _, ...found } = (await ledger.tasks.find(id))!
    return found
  }
  const before = await read()
  t.equal(await ledger.attempts.start(id, 'first'), 'stale')
  t.equal(await ledger.attempts.output(id, 'first', [anOutput]), 'stale')
  t.equal(await ledger.attempts.complete(id, 'first', [anOutput], spent), 'stale')
  t.equal(await ledger.attempts.fail(id, 'first', problem('timed-out', 'x'), 0), 'stale')
  t.match(
    await ledger.attempts.retry(id, 'first', { class: 'node', exhausted: problem('timed-out', 'x'), backoffMs: 0 }),
    { kind: 'stale' }
  )
  t.equal(await ledger.attempts.release('n2', 'first'), 'not-held')
  t.same(await beat(ledger, 'first'), { kind: 'lost' })
  t.same(await read(), before)
  t.equal(await ledger.attempts.complete(id, 'second', [], spent), 'ok')
})

t.test('a node whose process is known to be gone is not claimed until it shows itself', async t => {
  const ledger = open(t)
  await register(ledger, 'n1')
  const id = await enqueue(ledger)
  await ledger.nodes.suspect('n1', 'e1')
  t.equal(await claim(ledger, id), 'not-ready')
  await beat(ledger)
  t.equal(await claim(ledger, id), 'claimed')
})

t.test('a claim that arrives again after its attempt has ended claims nothing', async t => {
  const ledger = open(t)
  await register(ledger, 'n1')
  const id = await enqueue(ledger)
  for (const token of ['one', 'two']) {
    t.equal(await claim(ledger, id, 'n1', token), 'claimed')
    await ledger.attempts.release('n1', token)
    t.equal(await claim(ledger, id, 'n1', 'one'), 'not-queued', 'no two attempts share a token')
  }
  t.match(await ledger.tasks.find(id), { state: 'queued', attempt: 2 })
})

t.test('a cancel is final at once; the slot waits for the node', async t => {
  const ledger = open(t)
  await register(ledger, 'n1')
  const id = await enqueue(ledger)
  await claim(ledger, id)
  await ledger.attempts.start(id, 'token-1')
  t.equal(await ledger.tasks.cancel(id, 'someone else'), 'not-found')
  t.equal(await ledger.tasks.cancel(id, 'default'), 'cancelled')
  t.equal(await ledger.attempts.complete(id, 'token-1', [anOutput], spent), 'terminal')
  t.same(await beat(ledger, 'token-1'), { kind: 'cancel' })
  t.equal(await claim(ledger, await enqueue(ledger), 'n1', 'next'), 'occupied')
  t.equal(await ledger.attempts.release('n1', 'token-1'), 'released')
  t.equal((await ledger.tasks.find(id))?.state, 'cancelled')
  const unseen = await enqueue(ledger)
  await claim(ledger, unseen, 'n1', 'unseen')
  await ledger.tasks.cancel(unseen, 'default')
  t.same(
    await beat(ledger),
    { kind: 'idle' },
    'a cancel between claim and start frees the slot with the next heartbeat'
  )
  t.equal((await ledger.waiting.backlog()).running, 0)
  t.equal(await ledger.tasks.cancel(unseen, 'default'), 'cancelled')
  const done = await enqueue(ledger)
  await claim(ledger, done, 'n1', 'd')
  await ledger.attempts.complete(done, 'd', [], spent)
  t.equal(await ledger.tasks.cancel(done, 'default'), 'succeeded')
})

t.test(
  'a slot without heartbeats that name its token ends; its task returns to its old place and avoids the node',
  async t => {
    const ledger = open(t, { leaseMs: 150 })
    await register(ledger, 'n1')
    const id = await enqueue(ledger)
    const order = await ledger.redis.hget(ledger.keys.task(id), 'order')
    await enqueue(ledger)
    await claim(ledger, id)
    await until(async () => (await ledger.recovery.sweep()).recovered === 1, 'the slot ends')
    t.same(await places(ledger, id), ['queue'])
    const look = await ledger.waiting.look([])
    t.match(
      look.candidates.find(task => task.id === id),
      { orderMs: Number(order), avoid: ['n1'] }
    )
    t.match((await ledger.tasks.journal(id, 0)).at(-1), { type: 'task.retried', reason: 'lost', state: 'queued' })
    t.same(await beat(ledger, 'token-1'), { kind: 'lost' })
  }
)

t.test('heartbeats that name the token keep the slot for as long as they come', async t => {
  const ledger = open(t, { leaseMs: 200 })
  await register(ledger, 'n1')
  const id = await enqueue(ledger)
  await claim(ledger, id)
  const end = Date.now() + 700
  while (Date.now() < end) {
    t.same(await beat(ledger, 'token-1'), { kind: 'ok' })
    t.equal((await ledger.recovery.sweep()).recovered, 0)
    await new Promise(resolve => setTimeout(resolve, 60))
  }
})

t.test('an expired slot of a finished task is emptied and the task left alone', async t => {
  const ledger = open(t, { leaseMs: 100 })
  await register(ledger, 'n1')
  const id = await enqueue(ledger)
  await claim(ledger, id)
  await ledger.tasks.cancel(id, 'default')
  await until(async () => {
    await ledger.recovery.sweep()
    return (await places(ledger, id)).length === 0
  }, 'the slot is emptied')
  t.equal((await ledger.tasks.find(id))?.state, 'cancelled')
})

t.test('budgets: node faults wait and end after three, lost leases after ten, hand-backs never', async t => {
  const ledger = open(t, { quarantineFaults: 100 })
  await register(ledger, 'n1')
  const exhausted = problem('attempts-exhausted', 'gone')
  const once = async (id: string, token: string, how: 'node' | 'hand-back') => {
    await claim(ledger, id, 'n1', token)
    return (await ledger.attempts.retry(id, token, { class: how, exhausted, backoffMs: how === 'node' ? 1 : 0 })).kind
  }
  const id = await enqueue(ledger)
  for (const token of ['1', '2', '3']) {
    t.equal(await once(id, token, 'node'), 'retried')
    t.same(await places(ledger, id), ['delayed'])
    await until(async () => (await ledger.recovery.sweep()).requeued === 1, 'the back-off ends')
    t.same(await places(ledger, id), ['queue'])
  }
  t.equal(await once(id, '4', 'node'), 'failed')
  const record = (await ledger.tasks.find(id))!
  t.equal(record.result.error?.code, 'attempts-exhausted')
  const { finished, failedByCode } = await ledger.waiting.backlog()
  t.same([finished, failedByCode], [{ failed: 1 }, { 'attempts-exhausted': 1 }])
  const drained = await enqueue(ledger)
  for (let i = 0; i < 15; i++) t.equal(await once(drained, `d${i}`, 'hand-back'), 'retried')
  const lost = await enqueue(ledger)
  for (let i = 0; i < 11; i++) {
    await beat(ledger)
    t.equal(await claim(ledger, i % 2 ? lost : lost, 'n1', `l${i}`), 'claimed')
    await ledger.nodes.suspect('n1', 'e1')
    t.equal((await ledger.tasks.find(lost))?.state, i < 10 ? 'queued' : 'failed')
  }
})

t.test('deadlines: a waiting task expires, a running one fails as timed out and its node is told', async t => {
  const ledger = open(t, { leaseMs: 60_000 })
  await register(ledger, 'n1')
  const running = await enqueue(ledger, { deadlineSeconds: 0.3 })
  const waiting = await enqueue(ledger, { deadlineSeconds: 0.3 })
  await claim(ledger, running)
  await ledger.attempts.start(running, 'token-1')
  await until(async () => {
    await ledger.recovery.sweep()
    return (
      (await ledger.tasks.find(running))?.state === 'failed' && (await ledger.tasks.find(waiting))?.state === 'expired'
    )
  }, 'both run out of time')
  t.equal((await ledger.tasks.find(running))?.result.error?.code, 'timed-out')
  t.same(await beat(ledger, 'token-1'), { kind: 'cancel' })
  t.same((await ledger.waiting.backlog()).queuedByTenant, {})
  t.equal((await ledger.waiting.backlog()).running, 0)
})

t.test(
  'registration: a second live node of one id is refused, a restart at the same address takes over, an attempt can be adopted',
  async t => {
    const ledger = open(t)
    t.same(await register(ledger, 'n1'), { kind: 'registered' })
    t.same(await register(ledger, 'n1', 'e2', { url: 'http://elsewhere' }), { kind: 'refused', url: 'http://n1' })
    const id = await enqueue(ledger)
    await claim(ledger, id)
    await ledger.attempts.start(id, 'token-1')
    t.same(await register(ledger, 'n1', 'e2', { adoptToken: 'token-1' }), { kind: 'adopted' })
    t.equal((await ledger.tasks.find(id))?.state, 'running')
    t.same(await beat(ledger, 'token-1'), { kind: 'stale-node' }, 'the former life is told that it is over')
    t.same(await beat(ledger, 'token-1', 'n1', 'e2'), { kind: 'ok' })
    t.same(await register(ledger, 'n1', 'e3'), { kind: 'registered' })
    t.same(await places(ledger, id), ['queue'], 'without adoption the old slot ends at once')
  }
)

t.test('when many nodes fall silent at once, or nobody swept, recovery waits one more lease', async t => {
  const { ledger, at } = await openHeld(t)
  const held = async () => {
    const ids: string[] = []
    for (const node of ['n1', 'n2', 'n3']) {
      await register(ledger, node)
      ids.push(await enqueue(ledger))
      t.equal(await claim(ledger, ids.at(-1)!, node, `t-${ids.at(-1)}`), 'claimed')
    }
    return async () => (await Promise.all(ids.map(id => places(ledger, id)))).flat()
  }
  const sweepAt = async (ms: number) => {
    await at(ms)
    return ledger.recovery.sweep()
  }
  const silent = await held()
  t.match(await sweepAt(4_000), { recovered: 0, heldBack: false }, 'no slot has ended yet, but all nodes are silent')
  t.match(await sweepAt(5_000), { recovered: 0, heldBack: true })
  t.match(await sweepAt(8_999), { recovered: 0 })
  t.same(await silent(), ['slot', 'slot', 'slot'])
  t.match(await sweepAt(9_000), { recovered: 3, heldBack: false }, 'a lease after it was noticed')
  t.same(await silent(), ['queue', 'queue', 'queue'])

  await at(100_000)
  const unswept = await held()
  t.match(await sweepAt(106_000), { recovered: 0, heldBack: true }, 'nobody swept since 9 s')
  t.match(await sweepAt(111_000), { recovered: 3, heldBack: false })
  t.same(await unswept(), ['queue', 'queue', 'queue'])
})

t.test('the look is bounded, fair by tenant and sees what waits for a resident model', async t => {
  const ledger = open(t)
  const need = {
    classes: ['A'],
    models: [{ classType: 'L', input: 'ckpt', value: 'sub\\m.safetensors' }],
    files: [],
    labels: {}
  }
  for (let i = 0; i < 50; i++) await enqueue(ledger, { tenant: 'busy', work: 100 - i })
  const [cheap, first] = [
    await enqueue(ledger, { tenant: 'busy', work: 0.5 }),
    await enqueue(ledger, { tenant: 'light', need, priority: 100 })
  ]
  const look = await ledger.waiting.look(['sub/m.safetensors'])
  t.equal(look.waiting, 52)
  t.equal(look.candidates.filter(task => task.tenant === 'busy').length, 32, '16 by order and the 16 cheapest')
  t.ok(look.candidates.some(task => task.id === cheap))
  t.ok(look.candidates.some(task => task.id === first))
  t.ok(
    await ledger.redis.sismember(
      ledger.keys.waiting('sub/m.safetensors'),
      `light:${look.candidates.find(task => task.id === first)?.needId}`
    )
  )
  await register(ledger, 'n1')
  await claim(ledger, look.candidates.find(task => task.tenant === 'busy')!.id)
  const next = await ledger.waiting.look([])
  t.ok(next.flows.get('busy')!.start > (next.flows.get('light')?.start ?? 0), 'the claim is charged to its tenant')
  await ledger.tasks.cancel(first, 'light')
  t.equal(await ledger.redis.exists(ledger.keys.waiting('sub/m.safetensors')), 0)
  t.notOk((await ledger.waiting.look([])).flows.has('light'))
})

t.test('what a tenant used beyond the prediction is charged, even when its last waiting task is claimed', async t => {
  const ledger = open(t)
  await register(ledger, 'n1')
  await register(ledger, 'n2')
  const long = await enqueue(ledger, { tenant: 'a' })
  await claim(ledger, long, 'n1', 'long')
  for (let i = 0; i < 5; i++) {
    await claim(ledger, await enqueue(ledger, { tenant: 'b' }), 'n2', `b${i}`)
    await ledger.attempts.complete((await ledger.nodes.find('n2'))!.slot!.task, `b${i}`, [], {
      ...spent,
      gpuSeconds: 10
    })
  }
  const last = await enqueue(ledger, { tenant: 'a' })
  await ledger.attempts.complete(long, 'long', [], { ...spent, gpuSeconds: 100 })
  await claim(ledger, last, 'n1', 'last')
  await enqueue(ledger, { tenant: 'a' })
  t.equal(
    (await ledger.waiting.look([])).flows.get('a')?.start,
    140,
    '40 when it came, 90 more than predicted, 10 predicted'
  )
})

t.test('finished attempts teach how long loading and execution take', async t => {
  const ledger = open(t)
  await register(ledger, 'n1')
  const id = await enqueue(ledger, { work: 2 })
  await claim(ledger, id)
  await ledger.attempts.complete(id, 'token-1', [], spent)
  const learned = await ledger.waiting.learned((await ledger.tasks.find(id))!.need)
  t.equal(learned.execution.fleet, 1.5)
  t.equal(learned.execution.byNode.get('n1'), 1.5)
  t.equal(learned.load.fleet, 1)
})

t.test('what a stalled attempt teaches is bounded, and domain learns the same of needs, nodes and graphs', async t => {
  const ledger = open(t)
  for (const node of ['n1', 'n2']) await register(ledger, node)
  const needs = ['A', 'B'].map(one => ({ classes: [one], models: [], files: [], labels: {} }))
  const attempts = [
    { node: 'n1', need: 0, graph: 'f', loadSeconds: 1, executionSeconds: 3 },
    { node: 'n1', need: 0, graph: 'f', loadSeconds: 0, executionSeconds: 300 },
    { node: 'n2', need: 0, graph: 'g', loadSeconds: 4, executionSeconds: 60 },
    { node: 'n2', need: 1, graph: 'h', loadSeconds: 2, executionSeconds: 0.01 },
    { node: 'n1', need: 1, graph: 'h', loadSeconds: 0, executionSeconds: 0 },
    { node: 'n2', need: 0, graph: 'f', loadSeconds: 3, executionSeconds: 7 },
    { node: 'n1', need: 0, graph: 'g', loadSeconds: 100, executionSeconds: 2 }
  ]
  const needsKnown = [noDurations, noDurations]
  const paces = new Map<string, Pace>()
  const graphs = new Map<string, number>()
  const near = (found: number | undefined, expected: number | undefined, what: string) =>
    t.ok(found === expected || Math.abs(found! - expected!) < 1e-9 * expected!, `${what}: ${found}, ${expected}`)
  for (const [i, { node, need, graph, ...took }] of attempts.entries()) {
    const id = await enqueue(ledger, { work: 2, need: needs[need]!, fingerprint: graph })
    await claim(ledger, id, node, `token-${i}`)
    await ledger.attempts.complete(id, `token-${i}`, [], { gpuSeconds: 4, loaded: took.loadSeconds > 0, ...took })
    const before = { learned: needsKnown[need]!, pace: paces.get(node) ?? noPace, knownSeconds: graphs.get(graph) }
    const after = learn(before, node, 2, took)
    needsKnown[need] = after.learned
    paces.set(node, after.pace)
    graphs.set(graph, after.knownSeconds)
    const learned = await ledger.waiting.learned((await ledger.tasks.find(id))!.need)
    const { pace } = (await ledger.nodes.find(node))!
    for (const kind of ['load', 'execution'] as const) {
      near(learned[kind].fleet, after.learned[kind].fleet, `${kind} in the fleet after ${i + 1}`)
      near(learned[kind].byNode.get(node), after.learned[kind].byNode.get(node), `${kind} on ${node} after ${i + 1}`)
      near(pace[kind], after.pace[kind], `pace of ${node} after ${i + 1}, ${kind}`)
    }
    if (i === 1) t.equal(learned.execution.byNode.get('n1'), 2.4, 'a hundred times as long counts as three times')
    await enqueue(ledger, { fingerprint: graph, tenant: `t${i}` })
    const { candidates } = await ledger.waiting.look([])
    near(candidates.find(task => task.tenant === `t${i}`)?.knownSeconds, after.knownSeconds, `graph after ${i + 1}`)
  }
})

t.test('the graphs that ran longest ago are forgotten, and a pace with the hardware', async t => {
  const { ledger, at } = await openHeld(t, { maxGraphs: 2 })
  await register(ledger, 'n1')
  for (const [i, fingerprint] of ['a', 'b', 'a', 'c'].entries()) {
    await at(i)
    const id = await enqueue(ledger, { fingerprint })
    await claim(ledger, id, 'n1', `token-${i}`)
    await ledger.attempts.complete(id, `token-${i}`, [], spent)
  }
  t.same(Object.keys(await ledger.redis.hgetall(ledger.keys.graphs())).sort(), ['a', 'c'])
  t.same((await ledger.redis.zrange(ledger.keys.graphUses(), '0', '-1')).sort(), ['a', 'c'])
  for (const key of [ledger.keys.graphs(), ledger.keys.graphUses()]) t.ok((await ledger.redis.pttl(key)) > 0)

  const paceAs = async (name: string) => {
    const unknown = { uuid: null, utilization: null, vramUsedBytes: null, temperatureCelsius: null, powerWatts: null }
    const gpu = { ...unknown, name, vramTotalBytes: 1e9 }
    await register(ledger, 'n1', 'e1', { report: { ...aReport(), gpus: [gpu] } })
    return (await ledger.nodes.find('n1'))?.pace
  }
  t.same((await ledger.nodes.find('n1'))?.pace, { load: 1, execution: 1 })
  t.same(await paceAs('another'), noPace)
  const id = await enqueue(ledger)
  await claim(ledger, id, 'n1', 'token-9')
  await ledger.attempts.complete(id, 'token-9', [], spent)
  t.same(await paceAs('another'), { load: 1, execution: 1 }, 'the same hardware again')
})

t.test('a waiting task tells how it stands beside all others, and what is known of its like', async t => {
  const ledger = open(t)
  await register(ledger, 'n1')
  await claim(ledger, await enqueue(ledger, { tenant: 'busy', work: 2 }), 'n1', 'one')
  for (const tenant of ['a', 'b', 'b', 'c']) await enqueue(ledger, { tenant })
  const last = await enqueue(ledger, { tenant: 'a' })
  const standing = async () => (await ledger.tasks.find(last))!.standing
  const { before, inQueue, ofTenant, others, ...unknown } = await standing()
  t.same({ before, inQueue, ofTenant }, { before: 1, inQueue: 2, ofTenant: 2 })
  t.same([...others].sort(), [1, 2])
  t.match(unknown, { usual: { load: undefined, execution: undefined }, knownSeconds: undefined })

  const [first] = (await ledger.nodes.list()).nodes
  await ledger.attempts.complete(first!.slot!.task, 'one', [], spent)
  const known = { usual: { load: 1, execution: 1.5 }, knownSeconds: 3 }
  t.match(await standing(), known)
  const { need } = (await ledger.tasks.find(last))!
  t.same(
    [...(await ledger.waiting.usual([need, 'none']))],
    [
      [need, known.usual],
      ['none', { load: undefined, execution: undefined }]
    ]
  )
})

t.test(
  'the log of each attempt is kept once, the beginning goes when it is too much, and late ones are refused',
  async t => {
    const ledger = open(t, { maxLogBytes: 30 })
    await register(ledger, 'n1')
    const id = await enqueue(ledger)
    await claim(ledger, id, 'n1', 'one')
    const back = { class: 'hand-back', exhausted: problem('attempts-exhausted', ''), backoffMs: 0 } as const
    t.match(await ledger.attempts.retry(id, 'one', back, 'first attempt\n'), { kind: 'retried' })
    t.equal(await ledger.tasks.log(id), 'first attempt\n')
    t.match(await ledger.attempts.retry(id, 'one', back, 'late\n'), { kind: 'stale' })
    await claim(ledger, id, 'n1', 'two')
    for (const _ of [1, 2])
      t.equal(await ledger.attempts.complete(id, 'two', [], spent, 'second attempt, longer\n'), 'ok')
    t.equal(await ledger.tasks.log(id), 'second attempt, longer\n')
    const other = await enqueue(ledger)
    await claim(ledger, other, 'n1', 'three')
    await ledger.attempts.retry(other, 'three', back, `one line that is longer than ${'that '.repeat(6)}\n`)
    t.equal(await ledger.tasks.log(other), ' that that that that that that \n'.slice(-30))
  }
)

t.test('the queue has a limit, and what is past retention is gone', async t => {
  const ledger = open(t, { maxQueued: 2, keepMs: 150 })
  const [a] = [await enqueue(ledger), await enqueue(ledger)]
  t.same(await ledger.tasks.enqueue(aTask()), { kind: 'queue-full', waiting: 2 })
  await ledger.tasks.cancel(a, 'default')
  await until(async () => (await ledger.tasks.find(a)) === undefined, 'retention ends')
  t.ok(await ledger.tasks.isGone(a, 'default'))
  t.notOk(await ledger.tasks.isGone(a, 'other'))
  await until(async () => !(await ledger.tasks.isGone(a, 'default')), 'then nothing is known of it')
  for (const name of ['task', 'body', 'result', 'journal'] as const)
    t.equal(await ledger.redis.exists(ledger.keys[name](a)), 0)
})

t.test('an unsuitable Redis is refused with the reason', async t => {
  const { redis } = open(t)
  const quiet = { warn: () => {}, info: () => {} }
  const { host, port } = redis.options
  const connection = await connect({ host: host!, port: port! }, quiet)
  t.equal(await connection.commands.ping(), 'PONG')
  await connection.close()
  t.equal(serverFault('redis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\n'), undefined)
  t.match(serverFault('redis_version:7.0.15\r\nmaxmemory_policy:allkeys-lru\r\n'), /maxmemory-policy allkeys-lru/)
  t.match(serverFault('redis_version:6.2.1\r\nmaxmemory_policy:noeviction\r\n'), /6\.2\.1 is too old/)
  await t.rejects(connect({ host: '127.0.0.1', port: 1 }, quiet, 300), /did not answer within 300 ms/)
})

/** Tries until it holds; fails by a thrown error after the deadline. */
async function until(holds: () => Promise<boolean>, what: string, deadlineMs = 5_000, between?: () => Promise<void>) {
  const end = Date.now() + deadlineMs
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`)
    await between?.()
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

const exhausted = problem('attempts-exhausted', 'gone')
let nonces = 0

/** One attempt of a new task on a node that ends with a retry of this class. */
const failOnce = async (ledger: Opened, node: string, retryClass: 'node' | 'comfyui-died', task?: string) => {
  const id = task ?? (await enqueue(ledger))
  const token = `failing-${nonces++}`
  t.equal(await claim(ledger, id, node, token), 'claimed')
  return ledger.attempts.retry(id, token, { class: retryClass, exhausted, backoffMs: 0 })
}

t.test('three faults in a row put a node into quarantine, then one canary decides', async t => {
  const { ledger, at } = await openHeld(t, { quarantineMs: 1_000, maxQuarantineMs: 1_500 })
  for (const id of ['n1', 'n2', 'n3']) await register(ledger, id)
  const quarantineOf = async (id: string) => (await ledger.nodes.find(id))!

  for (const ms of [0, 0, 1_000]) t.equal((await failOnce(ledger, 'n1', 'node')).quarantinedMs, ms)
  const id = await enqueue(ledger)
  t.equal(await claim(ledger, id, 'n1'), 'not-ready')
  t.match(await quarantineOf('n1'), { quarantines: 1 })

  for (let i = 0; i < 3; i++) t.equal((await failOnce(ledger, 'n2', 'node')).quarantinedMs, 0, 'one of three is enough')
  await at(999)
  t.equal(await claim(ledger, id, 'n1'), 'not-ready')
  await at(1_000)
  const again = await failOnce(ledger, 'n1', 'node')
  t.equal(again.quarantinedMs, 1_500, 'a canary that fails lengthens the time, up to a bound')
  await at(2_500)
  t.equal(await claim(ledger, id, 'n1', 'canary'), 'claimed')
  await ledger.attempts.complete(id, 'canary', [], spent)
  t.match(await quarantineOf('n1'), { quarantines: 0, quarantinedUntilMs: 0 }, 'one that succeeds clears the node')
  for (const ms of [0, 0]) t.equal((await failOnce(ledger, 'n1', 'node')).quarantinedMs, ms)
})

t.test('only nodes whose ComfyUI died under it are held against a workflow', async t => {
  const ledger = open(t)
  for (const node of ['n1', 'n2']) await register(ledger, node)
  const id = await enqueue(ledger)
  await claim(ledger, id, 'n1', 'lost')
  await ledger.nodes.suspect('n1', 'e1')
  for (let i = 0; i < 4; i++) await failOnce(ledger, 'n2', 'comfyui-died', id)
  t.equal((await ledger.tasks.find(id))?.state, 'failed')
  t.same(await ledger.quarantine.list(), [], 'it took down one node only; the other was lost')
  t.same((await ledger.tasks.enqueue(aTask())).kind, 'accepted')
})

t.test('only the faults of a node count: not a cancel, not the second ComfyUI that dies under one task', async t => {
  const ledger = open(t, { leaseMs: 60_000 })
  await register(ledger, 'n1')
  const id = await enqueue(ledger)
  for (let i = 0; i < 3; i++) t.equal((await failOnce(ledger, 'n1', 'comfyui-died', id)).quarantinedMs, 0)
  for (let i = 0; i < 3; i++) {
    const cancelled = await enqueue(ledger)
    t.equal(await claim(ledger, cancelled, 'n1', `c${i}`), 'claimed')
    await ledger.tasks.cancel(cancelled, 'default')
    await ledger.attempts.release('n1', `c${i}`)
  }
  t.match(await failOnce(ledger, 'n1', 'node'), { quarantinedMs: 0 }, 'the second of its own')
  t.match(await failOnce(ledger, 'n1', 'comfyui-died'), { quarantinedMs: 30_000 }, 'the third')
})

t.test('a node that speaks but does not do what it took is a fault; one that fell silent is none', async t => {
  const { ledger, at } = await openHeld(t, { quarantineFaults: 1, blindMs: 60_000 })
  for (const node of ['idler', 'dead']) {
    await register(ledger, node)
    t.equal(await claim(ledger, await enqueue(ledger), node, `t-${node}`), 'claimed')
  }
  await at(4_000)
  await beat(ledger, undefined, 'idler')
  await at(5_000)
  t.equal((await ledger.recovery.sweep()).recovered, 2)
  t.equal((await ledger.nodes.find('idler'))?.quarantines, 1)
  t.equal((await ledger.nodes.find('dead'))?.quarantines, 0)
})

t.test('a workflow that took ComfyUI down on several nodes is refused to its tenant until it is lifted', async t => {
  const ledger = open(t)
  for (const node of ['n1', 'n2']) await register(ledger, node)
  const id = await enqueue(ledger, { fingerprint: 'deadly' })
  for (const node of ['n1', 'n2', 'n1']) t.match(await failOnce(ledger, node, 'comfyui-died', id), { kind: 'retried' })
  t.match(await failOnce(ledger, 'n2', 'comfyui-died', id), { kind: 'failed' })
  t.match(await ledger.tasks.enqueue(aTask({ fingerprint: 'deadly' })), { kind: 'workflow-quarantined', task: id })
  t.match(await ledger.tasks.enqueue(aTask({ fingerprint: 'deadly', tenant: 'other' })), { kind: 'accepted' })
  t.match(await ledger.tasks.enqueue(aTask({ fingerprint: 'harmless' })), { kind: 'accepted' })
  t.match(await ledger.quarantine.list(), [{ tenant: 'default', fingerprint: 'deadly', task: id, nodes: ['n1', 'n2'] }])
  t.same(await ledger.quarantine.list('other'), [])
  t.ok(await ledger.quarantine.lift('default', 'deadly'))
  t.notOk(await ledger.quarantine.lift('default', 'deadly'))
  t.match(await ledger.tasks.enqueue(aTask({ fingerprint: 'deadly' })), { kind: 'accepted' })

  const alone = open(t)
  await register(alone, 'n1')
  const onOne = await enqueue(alone, { fingerprint: 'deadly' })
  for (let i = 0; i < 4; i++) await failOnce(alone, 'n1', 'comfyui-died', onOne)
  t.equal((await alone.tasks.find(onOne))?.state, 'failed')
  t.match(
    await alone.tasks.enqueue(aTask({ fingerprint: 'deadly' })),
    { kind: 'accepted' },
    'one node may be at fault itself'
  )
})

t.test('out of memory: what the next attempt must heed reaches the policy, for one attempt or for all', async t => {
  const ledger = open(t)
  await register(ledger, 'n1')
  const id = await enqueue(ledger)
  const candidate = async () => (await ledger.waiting.look([])).candidates[0]
  const fail = (token: string, next: object) =>
    ledger.attempts.retry(id, token, { class: 'out-of-memory', exhausted, backoffMs: 0, ...next })
  await claim(ledger, id, 'n1', 'one')
  await fail('one', { again: true })
  t.match(await candidate(), { stay: 'n1', avoid: [], vramAboveBytes: undefined })
  await claim(ledger, id, 'n1', 'two')
  t.equal((await ledger.tasks.find(id))?.outOfMemory, 1)
  await fail('two', { vramAboveBytes: 24e9 })
  t.match(await candidate(), { stay: undefined, avoid: ['n1'], vramAboveBytes: 24e9 })
})

t.test('a drained node gets nothing until it is resumed, also after a restart', async t => {
  const ledger = open(t)
  await register(ledger, 'n1')
  const id = await enqueue(ledger)
  for (const _ of [1, 2]) t.ok(await ledger.nodes.drain('n1', true))
  t.equal(await claim(ledger, id), 'not-ready')
  await register(ledger, 'n1', 'e2')
  t.equal((await ledger.nodes.find('n1'))?.isDrained, true)
  t.equal(await claim(ledger, id, 'n1', 'x', 'e2'), 'not-ready')
  t.ok(await ledger.nodes.drain('n1', false))
  t.equal(await claim(ledger, id, 'n1', 'x', 'e2'), 'claimed')
  t.notOk(await ledger.nodes.drain('unknown', true))
})

t.test(
  'a node that shall restart its ComfyUI gets nothing, is told so when its slot is empty, and is told once',
  async t => {
    const ledger = open(t)
    await register(ledger, 'n1')
    const [id, next] = [await enqueue(ledger), await enqueue(ledger)]
    const beat = (token?: string) => ledger.nodes.heartbeat('n1', 'e1', aReport(), 'ready', token)
    t.equal(await claim(ledger, id), 'claimed')
    for (const _ of [1, 2]) t.ok(await ledger.nodes.wishRestart('n1', 'w1'))
    t.match(await beat('token-1'), { kind: 'ok' }, 'what runs goes on')
    await ledger.attempts.complete(id, 'token-1', [], spent)
    t.equal(await claim(ledger, next, 'n1', 'token-2'), 'not-ready')
    t.same(await beat(), { kind: 'restart', wish: 'w1' })
    await ledger.nodes.restarted('n1', 'another')
    t.equal((await ledger.nodes.find('n1'))?.restart, 'w1')
    await ledger.nodes.restarted('n1', 'w1')
    await ledger.nodes.wishRestart('n1', 'w1')
    t.same(await beat(), { kind: 'idle' }, 'a wish that comes late is fulfilled already')
    t.equal(await claim(ledger, next, 'n1', 'token-2'), 'claimed')
    await ledger.nodes.drain('n1', true)
    await ledger.nodes.wishRestart('n1', 'w2')
    await ledger.nodes.restarted('n1', 'w2')
    t.match(await ledger.nodes.find('n1'), { isDrained: true, restart: undefined }, 'a drained node stays drained')
    await ledger.nodes.wishRestart('n1', 'w3')
    await ledger.nodes.drain('n1', false)
    t.match(await ledger.nodes.find('n1'), { isDrained: false, restart: undefined }, 'resume takes both back')
    t.notOk(await ledger.nodes.wishRestart('unknown', 'w'))
  }
)

t.test('short of memory nothing is accepted, and everything else goes on', async t => {
  const ledger = open(t, { maxMemoryShare: 1e-9 })
  await register(ledger, 'n1')
  const id = await enqueue(ledger)
  await ledger.redis.config('SET', 'maxmemory', '68719476736')
  t.teardown(() => ledger.redis.status === 'ready' && ledger.redis.config('SET', 'maxmemory', '0'))
  await ledger.recovery.sweep()
  t.same(await ledger.tasks.enqueue(aTask()), { kind: 'memory-full' })
  t.equal(await claim(ledger, id), 'claimed')
  t.equal(await ledger.attempts.complete(id, 'token-1', [], spent), 'ok')
  await ledger.redis.config('SET', 'maxmemory', '0')
  await ledger.recovery.sweep()
  t.match(await ledger.tasks.enqueue(aTask()), { kind: 'accepted' })
})

t.test('a tenant keeps so many bytes of uploads and no more; what is forgotten makes room', async t => {
  const { ledger, redis, close } = openScratchLedger({ maxInputBytes: 10 })
  t.teardown(close)
  const { inputs, tenants } = ledger
  const file = (letter: string, bytes: number) => ({
    ...{ sha256: letter.repeat(64), path: letter, bytes, mediaType: 'image/png' }
  })
  const bytesOf = async (tenant: string) => (await tenants.find(tenant))?.usage.inputBytes
  await tenants.setLimits('small', { inputBytes: 4 })
  await tenants.setLimits('usual', {})
  t.match(await inputs.add('usual', file('a', 6), 60_000), { path: 'a' })
  t.match(await inputs.add('usual', file('b', 4), 90_000), { path: 'b' })
  const over = await inputs.add('usual', file('c', 1), 60_000)
  t.match(over, { kind: 'over-quota', keptBytes: 10, mostBytes: 10 })
  t.ok('againMs' in over && over.againMs > 30_000 && over.againMs <= 60_000, 'when the first of them may go')
  t.match(
    await inputs.add('usual', { ...file('b', 4), path: 'again' }, 60_000),
    { path: 'again' },
    'known bytes are none more'
  )
  t.match(await inputs.add('small', file('a', 5), 60_000), { kind: 'over-quota', keptBytes: 0, mostBytes: 4 })
  t.match(await inputs.add('small', file('a', 4), 60_000), { path: 'a' })
  t.same([await bytesOf('usual'), await bytesOf('small')], [10, 4])
  await redis.zadd(`${ledger.prefix}inputs`, 'XX', 1, `usual:${'a'.repeat(64)}`, 1, `small:${'a'.repeat(64)}`)
  await inputs.forget()
  t.same([await bytesOf('usual'), await bytesOf('small')], [4, 0])
  t.match(await inputs.add('usual', file('c', 1), 60_000), { path: 'c' })
})

t.test('an uploaded file is known by its content, kept longer by use and removed once forgotten', async t => {
  const { ledger, redis, close } = openScratchLedger()
  t.teardown(close)
  const { inputs } = ledger
  const file = (path: string) => ({ sha256: 'a'.repeat(64), path, bytes: 3, mediaType: 'image/png' })
  const id = `input_${'a'.repeat(64)}`
  const first = (await inputs.add('t1', file('p1'), 60_000)) as InputRecord
  t.match(first, { id, path: 'p1', bytes: 3, mediaType: 'image/png' })
  t.match(await inputs.add('t1', file('p1'), 1), { path: 'p1', expiresMs: first.expiresMs }, 'sent again: the same')
  t.same([await inputs.find('t2', id), await inputs.use('t2', id, 1)], [undefined, undefined], 'of no other tenant')
  t.ok((await inputs.use('t1', id, 600_000))!.expiresMs > first.expiresMs)
  t.match(await inputs.add('t1', file('p2'), 1), { path: 'p2' }, 'the newest copy counts')
  t.same(await inputs.forget(), [], 'the one before may still be read')
  await redis.zadd(`${ledger.prefix}inputs`, 'XX', 1, `t1:${'a'.repeat(64)}`)
  t.same(await inputs.forget(), ['p2'])
  t.same(await inputs.forget(), ['p2'], 'told until it is reported removed')
  await inputs.removed(['p2'])
  t.same([await inputs.forget(), await inputs.find('t1', id)], [[], undefined])
})
