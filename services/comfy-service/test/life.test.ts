import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSimulator } from '@comfy-balancer/comfyui-simulator/simulator'
import { connect } from '@comfy-balancer/task-store/connection'
import { createKeys } from '@comfy-balancer/task-store/keys'
import { createLedger } from '@comfy-balancer/task-store/ledger'
import { defaultLimits } from '@comfy-balancer/task-store/limits'
import { openScratchLedger } from '@comfy-balancer/task-store/scratch-ledger'
import t, { type Test } from 'tap'
import { freePort, type ServiceProcess, startService, tellFailed } from './service-process.ts'
import { until } from './wait.ts'
import { picture, twoPictures } from './workflows.ts'

t.jobs = 3

const node = 'gpu-test'
const limits = { leaseMs: 1_500, aliveMs: 1_000, blindMs: 60_000 }

/** A simulated ComfyUI in this process, and services as processes of their own that share its address and a ledger. */
const open = async (t: Test, { withComfyUi = true } = {}) => {
  const folder = t.testdir({})
  const scratch = openScratchLedger(limits)
  const { ledger, redis } = scratch
  const simulator = createSimulator({ timeScale: 1, hasPreviews: false, port: await freePort() })
  if (withComfyUi) await simulator.listen()
  const port = await freePort()
  const services: ServiceProcess[] = []
  t.teardown(async () => {
    for (const service of services) {
      await service.end()
      tellFailed(t, service)
    }
    await simulator.close()
    await scratch.close()
  })
  const start = (env: Record<string, string> = {}, at = port): ServiceProcess => {
    const service = startService(at, {
      REDIS_KEY_PREFIX: ledger.prefix,
      COMFYUI_URL: `http://127.0.0.1:${simulator.port}`,
      OUTPUT_STORE: `folder:${join(folder, 'store')}`,
      ...env
    })
    services.push(service)
    return service
  }
  return {
    simulator,
    ledger,
    redis,
    start,
    started: async (env: Record<string, string> = {}): Promise<ServiceProcess> => {
      const service = start(env)
      await service.untilSaid('node registered')
      return service
    },
    task: async (id: string) => (await ledger.tasks.find(id))!,
    reasons: async (id: string) => (await ledger.tasks.journal(id, 0)).flatMap(({ reason }) => reason ?? []),
    budgets: async (id: string) =>
      Object.entries(await redis.hgetall(createKeys(ledger.prefix).task(id))).filter(([name]) =>
        name.startsWith('used:')
      ),
    slot: async () => (await ledger.nodes.find(node))?.slot,
    isRunningInComfyUi: () => simulator.state().queue.running.length > 0,
    storedFiles: () =>
      readdirSync(join(folder, 'store'), { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.png')),
    /** Ends the slot of a silent node, as a balancer's recoverer would. */
    recover: () => until('the lease ends', async () => (await ledger.recovery.sweep()).recovered === 1)
  }
}

t.test('killed while ComfyUI computes and started again, it adopts the attempt', async t => {
  const { simulator, started, task, slot } = await open(t)
  const env = { LEASE_MS: '20000', NODE_ALIVE_MS: '10000' }
  const first = await started(env)
  const id = await first.generate(picture(1, 2))
  await first.when(id, 'runs', ({ state }) => state === 'running')
  const held = await slot()
  await first.end()
  const second = await started(env)
  t.match(second.said('node registered'), [{ answer: 'adopted' }])
  t.match(await second.outcome(id), { state: 'succeeded', attempt: 1, outputs: [{ graphNode: '9' }] })
  t.equal((await task(id)).token, held?.token, 'the very same attempt')
  t.equal(simulator.state().counters.promptsExecuted, 1, 'which ComfyUI ran once')
  t.match(second.said('attempt taken'), [{ adopt: true, taskId: id, attempt: 1 }])
})

t.test('started again after its lease, it stops what the former life left running', async t => {
  const { simulator, started, ledger, recover, reasons, isRunningInComfyUi } = await open(t)
  const first = await started()
  const id = await first.generate(picture(2, 60))
  await first.when(id, 'runs', ({ state }) => state === 'running')
  await first.end()
  await recover()
  t.same(await reasons(id), ['lost'])
  await ledger.tasks.cancel(id, 'default')
  t.ok(isRunningInComfyUi())
  const second = await started()
  t.match(second.said('node registered'), [{ answer: 'registered' }])
  t.match(await second.outcome(await second.generate(picture(3))), { state: 'succeeded', attempt: 1 })
  t.match(second.said('prompt that nobody waits for stopped'), [{ outcome: 'gone' }])
  t.equal(simulator.state().counters.promptsExecuted, 2, 'the old prompt was interrupted before the new one ran')
})

t.test('SIGTERM: it finishes what runs, takes nothing new and is gone from the fleet at once', async t => {
  const { started, task, ledger, slot } = await open(t)
  const service = await started()
  const running = await service.generate(picture(4, 2))
  await service.when(running, 'runs', ({ state }) => state === 'running')
  const waiting = await service.generate(picture(5))
  service.kill('SIGTERM')
  await until('the node drains', async () => (await ledger.nodes.find(node))?.intent === 'draining')
  t.equal((await service.get('/readyz')).status, 503)
  t.same(await service.exited, { code: 0, signal: null })
  t.match(await task(running), { state: 'succeeded', attempt: 1 })
  t.match(await task(waiting), { state: 'queued', attempt: 0 })
  const [record, { nowMs }] = await Promise.all([ledger.nodes.find(node), ledger.nodes.now()])
  t.notOk(ledger.nodes.isAlive(record!, nowMs), 'nobody waits for its silence')
  t.equal(await slot(), undefined)

  const about = service.lines.filter(({ taskId }) => taskId === running).map(({ msg }) => msg)
  for (const msg of ['task accepted', 'task dispatched', 'attempt taken', 'task started', 'task succeeded']) {
    t.ok(about.includes(msg), `"${msg}" names its task`)
  }
  t.same(
    service.lines.filter(({ level }) => level >= 50),
    [],
    'without an error'
  )
})

t.test('SIGTERM with a long attempt: it goes back to its queue, which counts nowhere', async t => {
  const { started, task, reasons, budgets, isRunningInComfyUi, storedFiles } = await open(t)
  const service = await started({ SHUTDOWN_SECONDS: '1' })
  const id = await service.generate(twoPictures(6, 60))
  await service.when(id, 'has an output', ({ outputs }) => outputs.length > 0)
  service.kill('SIGTERM')
  t.same(await service.exited, { code: 0, signal: null })
  t.match(await task(id), { state: 'queued', attempt: 1, token: undefined })
  t.same(await reasons(id), ['hand-back'])
  t.same(await budgets(id), [['used:hand-back', '1']])
  t.notOk(isRunningInComfyUi(), 'ComfyUI does not work on it any more')
  t.same(storedFiles(), [])
})

t.test('SIGTERM just after a claim: the task is handed back, not lost', async t => {
  const { simulator, started, ledger, redis, task, reasons, budgets, slot } = await open(t)
  const service = await started({ SHUTDOWN_SECONDS: '1' })
  const foreign = JSON.stringify({ prompt: picture(97, 60) })
  await fetch(`${simulator.url}/prompt`, { method: 'POST', body: foreign })
  await until('the node takes nothing', async () => (await ledger.nodes.find(node))?.report.comfyui.foreign === 1)
  const id = await service.generate(picture(11))
  service.kill('SIGSTOP')
  const { epoch } = (await ledger.nodes.find(node))!
  const claim = { node, epoch, task: id, nonce: 'ours', predictedSeconds: 1, why: {}, overtakes: [] }
  await redis.hset(createKeys(ledger.prefix).node(node), 'intent', 'ready')
  t.equal(await ledger.attempts.claim(claim), 'claimed')
  service.kill('SIGTERM')
  service.kill('SIGCONT')
  t.same(await service.exited, { code: 0, signal: null })
  t.match(await task(id), { state: 'queued', token: undefined })
  t.same([await reasons(id), await budgets(id)], [['hand-back'], [['used:hand-back', '1']]])
  t.equal(await slot(), undefined)
  t.equal(simulator.state().queue.pending.length, 0, 'nothing of ours waits in ComfyUI')
})

t.test('stopped beyond its lease, it cannot spoil what another attempt did', async t => {
  const { simulator, started, ledger, recover, task, storedFiles } = await open(t)
  const service = await started()
  const id = await service.generate(twoPictures(7, 1))
  await service.when(id, 'has an output', ({ outputs }) => outputs.length > 0)
  t.equal(storedFiles().length, 1)
  service.kill('SIGSTOP')
  await recover()
  const { catalog, files, report } = (await ledger.nodes.find(node))!
  const other = { id: 'gpu-other', epoch: 'e', url: 'http://127.0.0.1:1', labels: {}, intent: 'ready' as const }
  const known = { catalog: { digest: catalog, text: '{}' }, files: { digest: files, text: '[]' } }
  await ledger.nodes.register({ ...other, ...known, report, adoptToken: undefined })
  const claim = { node: other.id, epoch: 'e', task: id, nonce: 'theirs', predictedSeconds: 1, why: {}, overtakes: [] }
  t.equal(await ledger.attempts.claim(claim), 'claimed')
  const spent = { gpuSeconds: 1, loadSeconds: 0, executionSeconds: 1, loaded: false }
  t.equal(await ledger.attempts.complete(id, 'theirs', [], spent), 'ok')
  await until('ComfyUI is done with the old one', () => simulator.state().counters.promptsExecuted === 1)
  const before = await ledger.tasks.journal(id, 0)

  service.kill('SIGCONT')
  await until('the old files are removed', () => storedFiles().length === 0)
  t.match(await task(id), { state: 'succeeded', attempt: 2, token: 'theirs' })
  t.same(await ledger.tasks.journal(id, 0), before, 'the task has not changed')
  t.ok(
    service.said('late result refused').length + service.said('attempt abandoned').length === 1,
    'and the log says what became of it'
  )
  t.match(await service.outcome(await service.generate(picture(8))), { state: 'succeeded' }, 'it goes on working')
})

t.test('a second service with the same NODE_ID is refused and says so once', async t => {
  const { started, start } = await open(t)
  const first = await started()
  const id = await first.generate(picture(9, 2))
  await first.when(id, 'runs', ({ state }) => state === 'running')
  const second = start({}, await freePort())
  const line = await second.untilSaid('another live comfy-service has this NODE_ID')
  t.match(line, { level: 50, errorSource: 'ours', url: /^http:\/\/127\.0\.0\.1:\d+$/ })
  t.equal((await second.get('/readyz')).status, 503)
  t.match(await first.outcome(id), { state: 'succeeded', attempt: 1 }, 'the first is not disturbed')
  t.equal(second.said('another live comfy-service has this NODE_ID').length, 1)
  await first.end()
  await second.untilSaid('node registered')
})

t.test('without ComfyUI it waits, not ready, and joins when ComfyUI is there', async t => {
  const { simulator, start } = await open(t, { withComfyUi: false })
  const service = start()
  await service.untilSaid('listening')
  t.equal((await service.get('/livez')).status, 200)
  const notReady = await service.get('/readyz')
  t.equal(notReady.status, 503)
  t.match(await notReady.json(), { checks: { redis: { status: 'ok' }, node: { status: 'unavailable' } } })
  t.equal((await service.get('/api/v1/nodes/self')).status, 404)
  await simulator.listen()
  await until('it is ready', async () => (await service.get('/readyz')).status === 200)
  const { metricsPort } = await service.untilSaid('listening')
  const metrics = await fetch(`http://127.0.0.1:${metricsPort}/metrics`)
  t.match(await metrics.text(), /^process_cpu_seconds_total/m, 'metrics have a port of their own')
  t.match(await service.node(), {
    id: node,
    state: 'ready',
    comfyui: { up: true, version: '0.3.64', queueRemaining: 0, foreign: 0 },
    attempt: null
  })
})

t.test('with AUTH_MODE=keys it asks for the same keys as every service on its ledger', async t => {
  const { ledger, start } = await open(t, { withComfyUi: false })
  const service = start({ AUTH_MODE: 'keys' })
  const { url } = await service.untilSaid('listening')
  const make = (tenant: string) =>
    ledger.apiKeys.create({ tenant, name: tenant, scopes: ['tasks:read'], lifetimeMs: undefined })
  const statusOf = async (path: string, key = '') =>
    (await fetch(`${url}${path}`, { headers: key ? { authorization: `Bearer ${key}` } : {} })).status
  const { text } = await make('pmc')
  t.equal(await statusOf('/livez'), 200)
  t.equal(await statusOf('/api/v1/tasks'), 401)
  t.equal(await statusOf('/api/v1/tasks', text), 200)
  t.equal(await statusOf('/api/v1/nodes/self', text), 403)
  await ledger.tenants.setLimits('pmc', { requestsPerMinute: 1 })
  t.same([await statusOf('/api/v1/tasks', text), await statusOf('/api/v1/tasks', text)], [200, 429])
  t.equal(await statusOf('/api/v1/tasks', (await make('other')).text), 200)
})

t.test('a wrong configuration ends it with every fault named', async t => {
  const service = startService(0, {
    PORT: 'many',
    COMFYUI_URL: 'comfy:8188',
    NODE_ID: 'a b',
    NODE_LABELS: 'zone',
    HEARTBEAT_MS: '1',
    REDIS_URL: 'redis://user:p#w@x'
  })
  t.match(await service.exited, { code: 1 })
  for (const name of ['PORT', 'COMFYUI_URL', 'NODE_ID', 'NODE_LABELS', 'HEARTBEAT_MS', 'REDIS_URL']) {
    t.match(service.stderr(), new RegExp(`^  ${name}: `, 'm'))
  }
  t.match(service.stderr(), /6 faults/)
  t.notMatch(service.stderr(), /p#w/)
})

/** A Redis of this test's own that survives its own death, as the compose file's does. */
const ownRedis = async (t: Test) => {
  const [dir, port] = [mkdtempSync(join(tmpdir(), 'redis-')), await freePort()]
  const args = ['--port', String(port), '--dir', dir, '--save', '', '--appendonly', 'yes', '--appendfsync', 'everysec']
  const look = () => connect({ host: '127.0.0.1', port }, { warn: () => {}, info: () => {} })
  const start = async () => {
    const child = spawn('redis-server', args, { stdio: 'ignore' })
    await (await look()).close()
    return child
  }
  let child = await start()
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  t.teardown(async () => {
    await kill()
    rmSync(dir, { recursive: true, force: true })
  })
  return {
    url: `redis://127.0.0.1:${port}`,
    look,
    kill,
    restart: async () => {
      child = await start()
    }
  }
}

const hasRedis = spawnSync('redis-server', ['--version']).status === 0

t.test(
  'a result that is there while Redis is not is kept, and recorded when Redis is back',
  hasRedis ? {} : { skip: 'there is no redis-server on PATH' },
  async t => {
    const {
      simulator,
      started,
      ledger: { prefix }
    } = await open(t)
    const redis = await ownRedis(t)
    const service = await started({ REDIS_URL: redis.url, LEASE_MS: '8000', NODE_ALIVE_MS: '3000', BLIND_MS: '1000' })
    const id = await service.generate(picture(10, 1))
    await service.when(id, 'runs', ({ state }) => state === 'running')
    await redis.kill()
    await until('ComfyUI is done', () => simulator.state().counters.promptsExecuted === 1)
    await service.untilSaid('the ledger does not answer yet')
    await redis.restart()
    const { commands, close } = await redis.look()
    t.teardown(close)
    const ledger = createLedger(commands, prefix, defaultLimits)
    const done = await until('the result is recorded', async () => {
      const record = await ledger.tasks.find(id)
      return record?.state === 'succeeded' && record
    })
    t.match(done, { attempt: 1 })
    t.equal(simulator.state().counters.promptsExecuted, 1, 'ComfyUI ran it once')
    t.match(await service.outcome(id), { state: 'succeeded', outputs: [{ graphNode: '9' }] })
  }
)
