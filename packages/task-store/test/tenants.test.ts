import { randomUUID } from 'node:crypto'
import type { NodeReport } from '@comfy-balancer/contract/node'
import { problem } from '@comfy-balancer/contract/problem'
import t, { type Test } from 'tap'
import { digestOfApiKey, idOfApiKey, mintApiKey } from '../src/api-key.ts'
import { createKeys } from '../src/keys.ts'
import type { NewTask } from '../src/new-task.ts'
import { openScratchLedger } from '../src/scratch-ledger.ts'
import type { Accepted } from '../src/tasks.ts'

const report: NodeReport = {
  comfyui: { up: true, version: '0.3.64', queueRemaining: 0, foreign: 0 },
  gpus: [],
  host: { cpuUtilization: null, memoryTotalBytes: null, memoryUsedBytes: null },
  resident: [],
  catalog: 'c',
  progress: null
}
const modelNeed = {
  classes: ['A'],
  models: [{ classType: 'A', input: 'ckpt_name', value: 'a.safetensors' }],
  files: [],
  labels: {}
}
const spent = (gpuSeconds: number) => ({ gpuSeconds, loadSeconds: 0, executionSeconds: gpuSeconds, loaded: false })

/** A ledger of its own, with ways to use it as tenants do. Its nodes are as many as are claimed. */
const open = (t: Test) => {
  const { ledger, redis, close } = openScratchLedger({ aliveMs: 60_000, leaseMs: 60_000 })
  t.teardown(close)
  const keys = createKeys(ledger.prefix)
  const enqueue = (tenant: string, more: Partial<NewTask> = {}): Promise<Accepted> =>
    ledger.tasks.enqueue({
      id: `task_${randomUUID().replaceAll('-', '')}`,
      tenant,
      body: '{}',
      need: { classes: ['A'], models: [], files: [], labels: {} },
      outputs: ['9'],
      work: 1,
      priority: 50,
      timeoutSeconds: 600,
      deadlineSeconds: 3_600,
      clientId: undefined,
      metadata: {},
      fingerprint: 'f',
      idempotency: undefined,
      ...more
    })
  const accepted = async (tenant: string, more: Partial<NewTask> = {}): Promise<string> => {
    const answer = await enqueue(tenant, more)
    if (answer.kind !== 'accepted') throw new Error(answer.kind)
    return answer.id
  }
  const claim = async (task: string, node: string, predictedSeconds = 10) => {
    await ledger.nodes.register({
      ...{ id: node, epoch: 'e', url: `http://${node}`, labels: {}, report, intent: 'ready', adoptToken: undefined },
      catalog: { digest: 'c', text: '{}' },
      files: { digest: 'f', text: '[]' }
    })
    return ledger.attempts.claim({
      ...{ node, epoch: 'e', task, nonce: `${task}-${node}`, predictedSeconds, why: {}, overtakes: [] }
    })
  }
  const complete = (task: string, node: string, gpuSeconds: number) =>
    ledger.attempts.complete(task, `${task}-${node}`, [], spent(gpuSeconds))
  const seen = async (resident: string[] = []) => {
    const { candidates, waiting, flows } = await ledger.waiting.look(resident)
    return { tenants: [...new Set(candidates.map(one => one.tenant))].sort(), waiting, flows }
  }
  return { ...ledger, redis, keys, enqueue, accepted, claim, complete, seen }
}

t.test('a key has a recognisable form, a checksum and an id, and no two are equal', async t => {
  const made = Array.from({ length: 200 }, mintApiKey)
  t.equal(new Set(made.map(key => key.text)).size, 200)
  for (const { id, text } of made) {
    t.match(text, /^cbk_[0-9A-Za-z]{11}_[0-9A-Za-z]{49}$/)
    t.equal(idOfApiKey(text), id)
  }
  const { text } = mintApiKey()
  for (let i = 4; i < text.length; i++) {
    const mistyped = text.slice(0, i) + (text[i] === 'a' ? 'b' : 'a') + text.slice(i + 1)
    if (mistyped !== text) t.equal(idOfApiKey(mistyped), undefined, `a slip at ${i} is noticed`)
  }
  for (const wrong of ['', 'cbk_', `${text}x`, text.slice(1), ` ${text}`, `${text}\n`, text.toUpperCase()]) {
    t.equal(idOfApiKey(wrong), undefined, JSON.stringify(wrong))
  }
})

t.test('a key is kept as a digest only, and judged by secret, end and expiry', async t => {
  const { apiKeys, redis, keys, tenants } = open(t)
  const { text, record } = await apiKeys.create({
    ...{ tenant: 'pmc', name: 'ci', scopes: ['tasks:read', 'tasks:write'], lifetimeMs: undefined }
  })
  const stored = await redis.hgetall(keys.apiKey(record.id))
  t.equal(stored.digest, digestOfApiKey(text))
  t.notOk(JSON.stringify(stored).includes(text.slice(16)), 'the secret is nowhere')
  t.match(await apiKeys.judge(text), {
    kind: 'valid',
    record: { tenant: 'pmc', scopes: ['tasks:read', 'tasks:write'] }
  })
  t.ok((await apiKeys.list('pmc'))[0]?.lastUsedMs, 'its last use is known')
  t.match(await tenants.find('pmc'), { limits: { generationsPerHour: 50, requestsPerMinute: 600, maxQueued: 1_000 } })

  t.same(await apiKeys.judge('cbk_nonsense'), { kind: 'malformed' })
  t.same(await apiKeys.judge(mintApiKey().text), { kind: 'unknown' })
  await redis.hset(keys.apiKey(record.id), { digest: digestOfApiKey(mintApiKey().text) })
  t.same(await apiKeys.judge(text), { kind: 'unknown' }, 'a right id with another secret')
  await redis.hset(keys.apiKey(record.id), { digest: stored.digest! })

  await tenants.setLimits('pmc', { weight: 3 })
  const next = await apiKeys.rotate(record.id, 60_000)
  t.match(await apiKeys.judge(next!.text), {
    kind: 'valid',
    record: { name: 'ci', scopes: ['tasks:read', 'tasks:write'] }
  })
  const old = await apiKeys.judge(text)
  t.ok(old.kind === 'valid' && old.validMs <= 60_000, 'the old one works on for the overlap')
  t.same((await tenants.find('pmc'))?.limits, { weight: 3 }, 'another key does not bring back limits that were lifted')

  t.ok(await apiKeys.revoke(next!.record.id))
  t.same(await apiKeys.judge(next!.text), { kind: 'revoked' })
  t.equal(await apiKeys.rotate(next!.record.id, 0), undefined, 'what has ended has no successor')
  const short = await apiKeys.create({ tenant: 'pmc', name: 'short', scopes: ['admin'], lifetimeMs: 0 })
  t.same(await apiKeys.judge(short.text), { kind: 'expired' })
  t.equal(await apiKeys.revoke('00000000000'), false)
  t.equal((await apiKeys.list()).length, 3, 'those that ended are listed for a while')
  t.ok((await redis.pttl(keys.apiKey(short.record.id))) > 29 * 86_400_000)
  await redis.del(keys.apiKey(short.record.id))
  t.equal((await apiKeys.list()).length, 2)
  t.equal(await redis.scard(keys.apiKeys()), 2)
})

t.test('requests: a minute’s worth at once, given back evenly, the same through every process', async t => {
  const { tenants, redis, keys } = open(t)
  t.equal(await tenants.meter('pmc'), undefined, 'no limit, no count')
  for (const limit of [1, 7, 30]) {
    await tenants.setLimits('pmc', { requestsPerMinute: limit })
    for (let i = 1; i <= limit; i++) t.match(await tenants.meter('pmc'), { allowed: true, limit }, `${i} of ${limit}`)
    const refused = await tenants.meter('pmc')
    t.match(refused, { allowed: false, limit, left: 0 })
    t.ok(refused!.backMs > 0 && refused!.backMs <= 60_000 / limit, 'the next is allowed after its share of the minute')
    t.equal((await tenants.meter('pmc'))?.allowed, false, 'a refused request costs nothing more')
  }
  t.ok((await redis.pttl(keys.rate('pmc'))) > 0, 'nothing is left of a tenant that is quiet')
  const due = Number(await redis.get(keys.rate('pmc')))
  await redis.set(keys.rate('pmc'), String(due - 4_000))
  t.match(await tenants.meter('pmc'), { allowed: true, left: 1 }, 'two seconds give back one of thirty')
})

t.test('generations: exactly so many in any hour, counted once whatever is sent again', async t => {
  const { tenants, enqueue, redis, keys } = open(t)
  await tenants.setLimits('pmc', { generationsPerHour: 3 })
  const first = { id: `task_${randomUUID().replaceAll('-', '')}` }
  t.match(await enqueue('pmc', first), { kind: 'accepted', generations: { limit: 3, left: 2 } })
  t.match(await enqueue('pmc', first), { kind: 'accepted' }, 'the same script again')
  const keyed = { idempotency: { key: 'k', requestHash: 'h' } }
  t.match(await enqueue('pmc', keyed), { kind: 'accepted', generations: { left: 1 } })
  t.match(await enqueue('pmc', keyed), { kind: 'replayed' })
  t.match(await enqueue('pmc'), { kind: 'accepted', generations: { left: 0 } })
  const over = await enqueue('pmc')
  t.match(over, { kind: 'over-quota', limit: 'generationsPerHour', most: 3 })
  t.ok(over.kind === 'over-quota' && over.againMs > 3_590_000 && over.againMs <= 3_600_000)
  t.match(await enqueue('pmc', keyed), { kind: 'replayed' }, 'a retry is answered also when the quota is used up')
  t.match(await enqueue('other'), { kind: 'accepted', generations: undefined })
  t.equal((await tenants.find('pmc'))?.usage.generationsLastHour, 3)

  const [oldest] = await redis.zrange(keys.generated('pmc'), '0', '0')
  await redis.zincrby(keys.generated('pmc'), -3_600_000, oldest!)
  t.match(await enqueue('pmc'), { kind: 'accepted', generations: { left: 0 } }, 'an hour later one is given back')
  await tenants.setLimits('pmc', { generationsPerHour: 0 })
  t.match(await enqueue('pmc'), { kind: 'over-quota', againMs: 3_600_000 }, 'none at all')
})

t.test('waiting tasks and the GPU-seconds of a day have their limit too', async t => {
  const { tenants, enqueue, accepted, claim, complete, attempts, tasks, seen } = open(t)
  await tenants.setLimits('pmc', { maxQueued: 2, gpuSecondsPerDay: 10 })
  const [a, b] = [await accepted('pmc'), await accepted('pmc')]
  t.match(await enqueue('pmc'), { kind: 'over-quota', limit: 'maxQueued', most: 2 })
  t.equal(await claim(a, 'n1'), 'claimed')
  const c = await accepted('pmc')
  await complete(a, 'n1', 6)
  t.equal(await claim(b, 'n1'), 'claimed')
  await attempts.retry(b, `${b}-n1`, {
    class: 'comfyui-died',
    exhausted: problem('attempts-exhausted', ''),
    backoffMs: 0
  })
  t.equal((await tenants.find('pmc'))?.usage.gpuSecondsToday, 6, 'an attempt without a result is not charged')
  t.equal(await claim(c, 'n2'), 'claimed')
  await attempts.fail(c, `${c}-n2`, problem('comfyui-execution-error', ''), 4)
  t.equal((await tenants.find('pmc'))?.usage.gpuSecondsToday, 10)
  const over = await enqueue('pmc')
  t.match(over, { kind: 'over-quota', limit: 'gpuSecondsPerDay', most: 10 })
  t.ok(over.kind === 'over-quota' && over.againMs > 0 && over.againMs <= 86_400_000, 'until midnight')
  const waiting = await tasks.find(b)
  t.equal(waiting?.state, 'queued')
  t.same(await seen(), { tenants: [], waiting: 0, flows: new Map() }, 'what waits is not offered before')
  t.equal(await claim(b, 'n3'), 'at-cap')
  await tenants.setLimits('pmc', { gpuSecondsPerDay: 11 })
  t.equal(await claim(b, 'n3'), 'claimed')
})

t.test('a tenant at its running cap is passed over, and no other waits for it', async t => {
  const { tenants, accepted, claim, complete, tasks, seen } = open(t)
  await tenants.setLimits('heavy', { maxRunning: 2 })
  const heavy = [await accepted('heavy'), await accepted('heavy'), await accepted('heavy', { need: modelNeed })]
  t.same((await seen()).tenants, ['heavy'])
  t.equal(await claim(heavy[0]!, 'n1'), 'claimed')
  t.equal(await claim(heavy[1]!, 'n2'), 'claimed')
  const light = await accepted('light')
  t.match(await seen(['a.safetensors']), { tenants: ['light'], waiting: 1 }, 'not for a resident model either')
  t.equal(await claim(heavy[2]!, 'n3'), 'at-cap')
  t.equal((await tasks.find(heavy[2]!))?.state, 'queued', 'a refused claim changes nothing')
  t.equal(await claim(light, 'n3'), 'claimed')
  await complete(heavy[0]!, 'n1', 1)
  t.match(await seen(), { tenants: ['heavy'], waiting: 1 })
  t.equal(await claim(heavy[2]!, 'n1'), 'claimed')
  await tasks.cancel(heavy[1]!, 'heavy')
  await accepted('heavy')
  t.same((await seen()).tenants, ['heavy'], 'a cancel gives the place back')
})

t.test('behind a hundred tenants at their caps the next one is still found', async t => {
  const { tenants, accepted, seen } = open(t)
  for (let i = 0; i < 100; i++) {
    await tenants.setLimits(`capped-${i}`, { maxRunning: 0 })
    await accepted(`capped-${i}`)
  }
  await accepted('zz')
  t.match(await seen(), { tenants: ['zz'], waiting: 1 })
})

t.test('weight divides what is charged, and a tenant without work leaves nothing behind', async t => {
  const { tenants, accepted, claim, complete, recovery, tasks, redis, keys, seen } = open(t)
  await tenants.setLimits('double', { weight: 2 })
  const one = await accepted('double')
  const two = await accepted('single')
  const [more, other] = [await accepted('double'), await accepted('single')]
  await claim(one, 'n1', 10)
  await claim(two, 'n2', 10)
  const { flows } = await seen()
  t.match(flows.get('double'), { start: 5, weight: 2 })
  t.match(flows.get('single'), { start: 10, weight: 1 })
  await complete(one, 'n1', 20)
  t.match((await seen()).flows.get('double'), { start: 10 }, 'the correction counts by weight as well')

  await tasks.cancel(more, 'double')
  await redis.hset(keys.fairness(), { v: 9, 'o:gone': 3 })
  await recovery.sweep()
  t.same(Object.keys(await redis.hgetall(keys.fairness())).sort(), ['cursor', 's:double', 's:single', 'v'])
  await redis.hset(keys.fairness(), { v: 12 })
  await recovery.sweep()
  t.same(
    Object.keys(await redis.hgetall(keys.fairness())).sort(),
    ['cursor', 's:single', 'v'],
    'an idle tenant keeps its place while that is behind the others, one with work always'
  )
  await complete(two, 'n2', 10)
  await tasks.cancel(other, 'single')
  await recovery.sweep()
  t.equal(await redis.exists(keys.fairness()), 0, 'when nobody has work all places are equal')
})
