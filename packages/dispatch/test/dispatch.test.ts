import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { Gpu, NodeReport } from '@comfy-balancer/contract/node'
import type { Log } from '@comfy-balancer/service-kit/log'
import { createHints } from '@comfy-balancer/task-store/hints'
import { createLedger, type Ledger } from '@comfy-balancer/task-store/ledger'
import type { Limits } from '@comfy-balancer/task-store/limits'
import { openScratchLedger } from '@comfy-balancer/task-store/scratch-ledger'
import t, { type Test } from 'tap'
import { createDispatcher } from '../src/dispatcher.ts'
import { startDispatchLoops } from '../src/loops.ts'
import { createNodeRegistry } from '../src/node-registry.ts'
import { createNodeWatch } from '../src/node-watch.ts'
import { createOutlook } from '../src/outlook.ts'
import { startOutputSweep } from '../src/output-sweep.ts'
import { createWatchdog } from '../src/watchdog.ts'

const deadlineMs = 10_000

const until = async (what: string, isSo: () => Promise<boolean> | boolean, withinMs = deadlineMs): Promise<void> => {
  const end = performance.now() + withinMs
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`)
    await pause(2)
  }
}

const reconnect = (): void => {
  throw new Error('dispatch is not stuck')
}

const timers = (): number => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length

/** A ledger of its own; `second` opens it once more, on another connection, as another process would. */
const open = (t: Test, limits: Partial<Limits> = {}) => {
  const { ledger, redis, close } = openScratchLedger(limits)
  const others: { disconnect: () => void }[] = []
  t.teardown(async () => {
    for (const other of others) other.disconnect()
    await close()
  })
  const second = (): Ledger => {
    const other = redis.duplicate()
    others.push(other)
    return createLedger(other, ledger.prefix, ledger.limits)
  }
  return { ledger, redis, second, log: aLog() }
}

const openHints = async (t: Test, redis: ReturnType<typeof open>['redis'], prefix: string) => {
  const connections = [redis.duplicate(), redis.duplicate()] as const
  const close = () => {
    for (const one of connections.filter(({ status }) => status === 'ready')) one.disconnect()
  }
  t.teardown(close)
  return { hints: await createHints(...connections, prefix), close }
}

const aLog = () => {
  const kept: { message: string; fields: object }[] = []
  const keep = (fields: object, message: string) => void kept.push({ message, fields })
  const lines = (message: string) => kept.filter(line => line.message === message).map(({ fields }) => fields)
  return { debug: keep, info: keep, warn: keep, error: keep, fatal: keep, lines }
}

const aDispatcher = (
  ledger: Ledger,
  log: Log,
  more: Partial<Parameters<typeof createDispatcher>[0]> = {}
): ReturnType<typeof createDispatcher> =>
  createDispatcher({ ledger, log, registry: createNodeRegistry({ ledger }), ...more })

const aGpu = (more: Partial<Gpu> = {}): Gpu => ({
  uuid: null,
  name: 'GPU',
  utilization: 0,
  vramTotalBytes: 24e9,
  vramUsedBytes: 0,
  temperatureCelsius: null,
  powerWatts: null,
  ...more
})

const aReport = (more: { gpus?: Gpu[]; comfyui?: Partial<NodeReport['comfyui']> } = {}): NodeReport => ({
  comfyui: { up: true, version: '0.3.64', queueRemaining: 0, foreign: 0, ...more.comfyui },
  gpus: more.gpus ?? [],
  host: { cpuUtilization: null, memoryTotalBytes: null, memoryUsedBytes: null },
  resident: [],
  catalog: null,
  progress: null
})

type NodeOptions = Parameters<typeof aReport>[0] & {
  models?: string[]
  labels?: Record<string, string>
  intent?: 'ready' | 'draining'
  epoch?: string
  url?: string
}

const someModels = ['m0.safetensors', 'm1.safetensors', 'm2.safetensors']

const register = async (ledger: Ledger, id: string, options: NodeOptions = {}): Promise<void> => {
  const { models = someModels, labels = {}, intent = 'ready', epoch = 'e1', url = 'http://127.0.0.1:1' } = options
  const loader = { output: true, required: [], choices: { ckpt_name: 0 }, uploads: [] }
  const catalog = { classes: { CheckpointLoaderSimple: loader }, lists: [models], modelBytes: {} }
  const answer = await ledger.nodes.register({
    ...{ id, epoch, url, labels, intent },
    catalog: { digest: models.join(), text: JSON.stringify(catalog) },
    files: { digest: 'none', text: '[]' },
    report: aReport(options),
    adoptToken: undefined
  })
  if (answer.kind === 'refused') throw new Error(`${id} was refused`)
}

const accept = async (
  ledger: Ledger,
  { model = 'm0.safetensors', labels = {} }: { model?: string; labels?: Record<string, string> } = {}
): Promise<string> => {
  const id = `task_${randomUUID().replaceAll('-', '')}`
  const models = [{ classType: 'CheckpointLoaderSimple', input: 'ckpt_name', value: model }]
  const accepted = await ledger.tasks.enqueue({
    id,
    tenant: 'default',
    fingerprint: id,
    body: '{"prompt":{}}',
    need: { classes: ['CheckpointLoaderSimple'], models, files: [], labels },
    outputs: ['1'],
    work: 1,
    priority: 50,
    timeoutSeconds: 600,
    deadlineSeconds: 3_600,
    clientId: undefined,
    metadata: {},
    idempotency: undefined
  })
  if (accepted.kind !== 'accepted') throw new Error(accepted.kind)
  return id
}

const spent = (executionSeconds = 1) => ({
  gpuSeconds: executionSeconds,
  loadSeconds: 0,
  executionSeconds,
  loaded: true
})

type Held = { readonly node: string; readonly task: string; readonly token: string }

const slots = async (ledger: Ledger): Promise<Held[]> =>
  (await ledger.nodes.list()).nodes.flatMap(({ id, slot }) => (slot ? [{ node: id, ...slot }] : []))

/** Ends what is in a node's slot: with a result, or just the slot when its task was cancelled. */
const free = async (ledger: Ledger, node: string, executionSeconds?: number): Promise<void> => {
  for (const held of (await slots(ledger)).filter(slot => slot.node === node)) {
    await ledger.attempts.complete(held.task, held.token, [], spent(executionSeconds))
    await ledger.attempts.release(node, held.token)
  }
}

const aWatch = (t: Test, ledger: Ledger, log: Log) => {
  const watch = createNodeWatch({ ledger, log })
  t.teardown(() => watch.close())
  return watch
}

const listener = `
  const server = require('node:net').createServer(socket => socket.on('error', () => {}).resume())
  server.listen(Number(process.argv[1]), '127.0.0.1', Number(process.argv[2]), () => process.send(server.address().port))
  process.on('message', () => server.getConnections((_, count) => process.send(count)))
  process.on('disconnect', () => process.exit())`

/** A process that listens and can be killed, as a comfy-service is. */
const aProgram = async (t: Test, port = 0, backlog = 511) => {
  const child: ChildProcess = spawn(process.execPath, ['--eval', listener, String(port), String(backlog)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc']
  })
  t.teardown(() => child.kill('SIGKILL'))
  const [bound] = (await once(child, 'message')) as [number]
  const connections = async (): Promise<number> => {
    child.send('how many?')
    const [count] = (await once(child, 'message')) as [number]
    return count
  }
  return {
    port: bound,
    connections,
    hasConnection: () => until('it is being watched', async () => (await connections()) > 0),
    freeze: () => child.kill('SIGSTOP'),
    kill: () => child.kill('SIGKILL')
  }
}

/** A host that swallows what is sent to it: a stopped process whose backlog is full. */
const aSilentHost = async (t: Test): Promise<number> => {
  const { port, freeze } = await aProgram(t, 0, 1)
  freeze()
  const sockets: Socket[] = []
  t.teardown(() => sockets.map(socket => socket.destroy()))
  const isFull = async () => {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    sockets.push(socket)
    const answered = await Promise.race([once(socket, 'connect').then(() => true), pause(200).then(() => false)])
    return !answered
  }
  await until('it does not answer any more', isFull)
  return port
}

const aServer = async (t: Test, onSocket: (socket: Socket) => void) => {
  let dialled = 0
  const sockets = new Set<Socket>()
  const server: Server = createServer(socket => {
    dialled++
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    onSocket(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, dialled: () => dialled, open: () => sockets.size }
}

t.test('dispatchers that race give every slot one task and every task one slot', async t => {
  const { ledger, second, log } = open(t)
  const [nodes, tasks] = [10, 60]
  for (let i = 0; i < nodes; i++) await register(ledger, `gpu-${i}`)
  await Promise.all(Array.from({ length: tasks }, (_, i) => accept(ledger, { model: `m${i % 3}.safetensors` })))
  const dispatchers = [ledger, second(), second()].map(one => aDispatcher(one, log))
  const ran: string[] = []
  let dispatched = 0
  for (let round = 0; round < tasks && ran.length < tasks; round++) {
    const counts = await Promise.all(dispatchers.map(dispatch => dispatch()))
    const held = await slots(ledger)
    dispatched += counts.reduce((sum, count) => sum + count, 0)
    t.equal(held.length, Math.min(nodes, tasks - ran.length), 'no slot stays empty while work waits')
    t.equal(new Set(held.map(({ task }) => task)).size, held.length, 'no task is in two slots')
    t.equal(new Set(held.map(({ token }) => token)).size, held.length)
    for (const { task, token } of held) t.equal(await ledger.attempts.complete(task, token, [], spent()), 'ok')
    ran.push(...held.map(({ task }) => task))
  }
  t.equal(new Set(ran).size, tasks, 'every task ran once')
  t.equal(dispatched, tasks, 'each dispatch was counted by one dispatcher only')
  for (const id of ran) t.match(await ledger.tasks.find(id), { state: 'succeeded', attempt: 1 })
  t.ok(log.lines('claim not taken').length > 0, 'claims were really lost to another dispatcher')
  t.equal(log.lines('task dispatched').length, tasks)
})

t.test('only nodes that are alive, willing and able are given something', async t => {
  const { ledger, redis, log } = open(t)
  await register(ledger, 'fit')
  await register(ledger, 'draining', { intent: 'draining' })
  await register(ledger, 'foreign', { comfyui: { foreign: 1 } })
  await register(ledger, 'no-comfyui', { comfyui: { up: false } })
  await register(ledger, 'other-models', { models: ['other.safetensors'] })
  await register(ledger, 'quarantined')
  await redis.hset(`${ledger.prefix}node:quarantined`, 'quarantinedUntilMs', Date.now() + 60_000)
  await register(ledger, 'silent')
  await ledger.nodes.suspect('silent', 'e1')
  await register(ledger, 'garbage')
  await redis.hset(`${ledger.prefix}node:garbage`, 'report', '{"gpus":7}')
  await register(ledger, 'garbage-catalog', { models: ['garbage'] })
  await redis.set(`${ledger.prefix}catalog:garbage`, '{"classes":7}')
  await redis.set(`${ledger.prefix}files:none`, 'no names')
  for (let i = 0; i < 5; i++) await accept(ledger)
  t.equal(await aDispatcher(ledger, log)(), 1)
  t.same(
    (await slots(ledger)).map(({ node }) => node),
    ['fit']
  )
  await ledger.nodes.heartbeat('draining', 'e1', aReport(), 'ready', undefined)
  await ledger.nodes.heartbeat('foreign', 'e1', aReport(), 'ready', undefined)
  await ledger.nodes.heartbeat('silent', 'e1', aReport(), 'ready', undefined)
  t.equal(await aDispatcher(ledger, log)(), 3, 'they are used as soon as they can')
})

t.test('labels and pins are kept to, and a dispatcher of one node fills that slot only', async t => {
  const { ledger, log } = open(t)
  await register(ledger, 'a', { labels: { zone: 'x' } })
  await register(ledger, 'b', { labels: { zone: 'y' }, gpus: [aGpu({ name: 'NVIDIA H200' })] })
  await register(ledger, 'c')
  const onlyA = aDispatcher(ledger, log, { onlyNode: 'a' })
  const inY = await accept(ledger, { labels: { zone: 'y' } })
  t.equal(await onlyA(), 0, 'the node that stands alone leaves it')
  t.equal(await aDispatcher(ledger, log)(), 1)
  t.match(await ledger.tasks.find(inY), { node: 'b' })
  const onGpu = await accept(ledger, { labels: { gpu: 'NVIDIA H200' } })
  const pinned = await accept(ledger, { labels: { node: 'a' } })
  const nowhere = await accept(ledger, { labels: { zone: 'x', node: 'c' } })
  t.equal(await onlyA(), 1)
  t.match(await ledger.tasks.find(pinned), { node: 'a' })
  t.equal(await aDispatcher(ledger, log)(), 0, 'c is free, but nobody may use it')
  for (const id of [onGpu, nowhere]) t.match(await ledger.tasks.find(id), { state: 'queued' })
  await free(ledger, 'b')
  t.equal(await aDispatcher(ledger, log)(), 1)
  t.match(await ledger.tasks.find(onGpu), { node: 'b' })
})

t.test('a GPU that is busy for three heartbeats with an empty slot is the last choice', async t => {
  const { ledger, log } = open(t)
  const registry = createNodeRegistry({ ledger })
  const dispatch = aDispatcher(ledger, log, { registry, random: () => 0 })
  await register(ledger, 'used', { gpus: [aGpu({ utilization: 0.97, vramUsedBytes: 0 })] })
  await register(ledger, 'idle', { gpus: [aGpu({ utilization: 0, vramUsedBytes: 20e9 })] })
  const strained = async () => {
    const { nodes, nowMs } = await ledger.nodes.list()
    return (await registry.views(nodes, nowMs)).find(({ id }) => id === 'used')?.strained
  }
  const busyBeat = async () => {
    const { lastBeatMs } = (await ledger.nodes.find('used'))!
    await until('the clock of Redis has moved', async () => (await ledger.nodes.now()).nowMs > lastBeatMs)
    await ledger.nodes.heartbeat('used', 'e1', aReport({ gpus: [aGpu({ utilization: 0.97 })] }), 'ready', undefined)
  }
  t.notOk(await strained(), 'one heartbeat')
  t.notOk(await strained(), 'looking twice at it is still one')
  await busyBeat()
  t.notOk(await strained(), 'two')
  await busyBeat()
  t.ok(await strained(), 'three')
  const first = await accept(ledger)
  t.equal(await dispatch(), 1)
  t.match(await ledger.tasks.find(first), { node: 'idle' }, 'though its VRAM is fuller')
  const second = await accept(ledger)
  t.equal(await dispatch(), 1)
  t.match(await ledger.tasks.find(second), { node: 'used' }, 'a last choice is still one')
  await busyBeat()
  t.notOk(await strained(), 'busy with our own attempt is not strain')
})

t.test('what finished attempts taught decides between nodes', async t => {
  const { ledger, log } = open(t)
  await register(ledger, 'slow')
  await register(ledger, 'fast')
  for (const [node, seconds] of [
    ['slow', 8],
    ['fast', 2]
  ] as const) {
    await accept(ledger)
    t.equal(await aDispatcher(ledger, log, { onlyNode: node })(), 1)
    await free(ledger, node, seconds)
  }
  for (const draw of [0, 0.5, 0.999]) {
    const id = await accept(ledger)
    await aDispatcher(ledger, log, { random: () => draw })()
    t.match(await ledger.tasks.find(id), { node: 'fast' }, 'the faster one, however the lot falls')
    const [line] = log.lines('task dispatched').slice(-1)
    const { runnerUp, ...chosen } = line as { runnerUp: { node: string; seconds: number } }
    t.match(chosen, { taskId: id, nodeId: 'fast', executionSeconds: 2, nodes: 2 })
    t.match([runnerUp.node, Math.round(runnerUp.seconds)], ['slow', 8])
    await free(ledger, 'fast', 2)
  }
  const ids = [await accept(ledger), await accept(ledger)]
  await aDispatcher(ledger, log)()
  const nodes = await Promise.all(ids.map(async id => (await ledger.tasks.find(id))?.node))
  t.same(
    nodes.filter(node => node !== undefined),
    ['fast'],
    'the slow one leaves the second to the fast one, which ends both sooner'
  )
  await accept(ledger)
  await accept(ledger)
  t.equal(await aDispatcher(ledger, log)(), 1, 'but helps when more wait than there are nodes')
})

t.test('the outlook tells what nodes are at, who may take a task and what waits, and is kept for a while', async t => {
  const { ledger, log } = open(t)
  await register(ledger, 'busy')
  await register(ledger, 'other', { models: ['m1.safetensors'] })
  await register(ledger, 'leaving', { intent: 'draining' })
  await accept(ledger)
  await aDispatcher(ledger, log, { onlyNode: 'busy' })()
  await free(ledger, 'busy', 8)
  await accept(ledger)
  await aDispatcher(ledger, log, { onlyNode: 'busy' })()
  const id = await accept(ledger)
  await accept(ledger, { model: 'm1.safetensors' })
  const outlook = createOutlook({ ledger, registry: createNodeRegistry({ ledger }) })
  const found = await outlook()
  const { need: needId } = (await ledger.tasks.find(id))!
  const need = (await ledger.waiting.need(needId))!
  t.equal(found.nodes.length, 2, 'not the one that takes no tasks')
  const able = found.nodesFor({ needId, need, work: 1, knownSeconds: undefined })
  t.equal(able.length, 1, 'the other lacks the model')
  t.same([...able[0]!.holds], ['m0.safetensors'], 'what its attempt loads')
  const leftSeconds = (able[0]!.endsMs! - found.nowMs) / 1_000
  t.ok(leftSeconds > 0 && leftSeconds <= 8, `its attempt ends in ${leftSeconds} s`)
  t.match(
    [...found.needs],
    [[needId, { models: ['m0.safetensors'], share: 1, seconds: 8 }]],
    'of the other nothing is known'
  )
  await accept(ledger)
  t.equal(await outlook(), found, 'not asked again so soon')
})

t.test('a node whose process was killed is reported at once, and again in its next life', async t => {
  const { ledger, log } = open(t)
  const watch = aWatch(t, ledger, log)
  const follow = async () => watch.follow((await ledger.nodes.list()).nodes)
  const isSilent = async () => {
    const { nodes, nowMs } = await ledger.nodes.list()
    return nodes.every(node => !ledger.nodes.isAlive(node, nowMs) && !node.slot)
  }
  let port = 0
  const delaysMs: number[] = []
  for (const epoch of ['e1', 'e2']) {
    const program = await aProgram(t, port)
    port = program.port
    await register(ledger, 'gpu-a', { epoch, url: `http://127.0.0.1:${port}` })
    const id = await accept(ledger)
    await aDispatcher(ledger, log)()
    t.match(await ledger.tasks.find(id), { state: 'leased' })
    await follow()
    await follow()
    await program.hasConnection()
    const killedAtMs = performance.now()
    program.kill()
    await until('the kill is known', isSilent)
    delaysMs.push(Math.round(performance.now() - killedAtMs))
    t.match(await ledger.tasks.find(id), { state: 'queued', attempt: 1 }, 'its task is back in the queue')
    t.equal(await ledger.tasks.cancel(id, 'default'), 'cancelled')
  }
  t.ok(Math.max(...delaysMs) < 1_000, `known after ${delaysMs.join(' and ')} ms, long before the lease is over`)
  t.equal(log.lines('node process is gone').length, 2, 'each death is told once')
})

t.test('a reset, a host that does not answer and an address of no use prove nothing', async t => {
  const { ledger, log } = open(t)
  const resetting = await aServer(t, socket => socket.resetAndDestroy())
  const closing = await aServer(t, socket => socket.end())
  const silent = await aSilentHost(t)
  await register(ledger, 'resetting', { url: resetting.url })
  await register(ledger, 'closing', { url: closing.url })
  await register(ledger, 'silent', { url: `http://127.0.0.1:${silent}` })
  await register(ledger, 'useless', { url: 'not an address' })
  const watch = aWatch(t, ledger, log)
  const beats = async () => (await ledger.nodes.list()).nodes.map(({ id, lastBeatMs }) => ({ id, lastBeatMs }))
  const beatsBefore = await beats()
  watch.follow((await ledger.nodes.list()).nodes)
  await until('both were dialled three times', () => resetting.dialled() >= 3 && closing.dialled() >= 3)
  t.same(log.lines('node process is gone'), [])
  t.same(await beats(), beatsBefore, 'none of them counts as silent')
  watch.follow([])
  const before = resetting.dialled()
  await until('a node no longer followed is not dialled', () => resetting.open() === 0)
  t.equal(resetting.dialled(), before)
})

t.test('the loops place and recover tasks, tell that a balancer lives, and stop without a trace', async t => {
  const timersBefore = timers()
  const { ledger, redis, log } = open(t, { leaseMs: 300 })
  const { hints, close } = await openHints(t, redis, ledger.prefix)
  const program = await aProgram(t)
  await register(ledger, 'gpu-a', { url: `http://127.0.0.1:${program.port}` })
  const deps = { ledger, hints, registry: createNodeRegistry({ ledger }), log, reconnect }
  const stops = ['b1', 'b2'].map(balancer => startDispatchLoops({ ...deps, as: { balancer } }))
  await until('a balancer shows itself', () => ledger.nodes.hasBalancer())
  const id = await accept(ledger)
  await until('the task is placed', async () => (await ledger.tasks.find(id))?.state === 'leased')
  const isSecondTry = async () => ((await ledger.tasks.find(id))?.attempt ?? 0) >= 2
  await until('its lease ended without a heartbeat and it was placed again', isSecondTry)
  await program.hasConnection()
  await Promise.all(stops.map(stop => stop()))
  await until('the node is no longer watched', async () => (await program.connections()) === 0)
  await ledger.tasks.cancel(id, 'default')
  await free(ledger, 'gpu-a')
  const hinted = new Promise<void>(resolve => hints.onDispatch(resolve))
  const late = await accept(ledger)
  await hinted
  t.match(await ledger.tasks.find(late), { state: 'queued', attempt: 0 }, 'a hint wakes nobody any more')
  t.equal(log.lines('loop run failed').length, 0)
  program.kill()
  close()
  await until('no timer is left', () => timers() <= timersBefore)
})

t.test('loops of a node that stands alone fill its own slot and do not pose as a balancer', async t => {
  const { ledger, redis, log } = open(t)
  const { hints } = await openHints(t, redis, ledger.prefix)
  await register(ledger, 'gpu-a')
  await register(ledger, 'gpu-b')
  const ids = [await accept(ledger), await accept(ledger)]
  const registry = createNodeRegistry({ ledger })
  const stop = startDispatchLoops({ ledger, hints, registry, log, reconnect, as: { node: 'gpu-b' } })
  const states = async () => (await Promise.all(ids.map(id => ledger.tasks.find(id)))).map(task => task?.state)
  await until('it took one', async () => (await states()).includes('leased'))
  await stop()
  t.same((await states()).sort(), ['leased', 'queued'])
  t.same(
    (await slots(ledger)).map(({ node }) => node),
    ['gpu-b']
  )
  t.notOk(await ledger.nodes.hasBalancer())
})

t.test('dispatch that is stuck connects anew, then gives up, unless the ledger is away', async t => {
  const done: string[] = []
  let nowMs = 0
  let isAway = false
  const log = aLog()
  const watchdog = createWatchdog({
    ask: async () => isAway && Promise.reject(new Error('away')),
    reconnect: () => done.push('reconnect'),
    giveUp: error => done.push(error.message),
    log,
    now: () => nowMs
  })
  const after = async (ms: number) => {
    nowMs += ms
    await watchdog.look().catch(() => done.push('away'))
    return done.splice(0)
  }
  t.same(await after(9_999), [])
  t.same(await after(1), ['reconnect'])
  t.same(await after(9_999), [])
  isAway = true
  t.same(await after(1), ['away'], 'a ledger that is away is nothing to give up for')
  isAway = false
  watchdog.well()
  t.same(await after(10_000), ['reconnect'], 'once well it begins anew')
  t.same(await after(10_000), ['dispatch has been stuck for 10 s after connecting anew'])
  t.equal(log.lines('dispatch is stuck: connecting anew').length, 2)
})

t.test('a round counts as well unless it found work and nothing of it was taken', async t => {
  const { ledger, log } = open(t)
  let looks = 0
  const claim = async () => 'not-ready' as const
  const stubborn = { ...ledger, attempts: { ...ledger.attempts, claim } }
  const run = (of: Ledger) =>
    createDispatcher({ ledger: of, registry: createNodeRegistry({ ledger: of }), log, onWell: () => looks++ })()
  await run(stubborn)
  t.equal(looks, 1, 'nothing waits')
  await register(ledger, 'gpu-a')
  await accept(ledger)
  await run(stubborn)
  t.equal(looks, 1, 'the node was never taken')
  await run(ledger)
  t.equal(looks, 2)
})

t.test('outputs of tasks that the ledger has forgotten are removed, by one process at a time', async t => {
  const { ledger, redis, second, log } = open(t, { keepMs: 3_600_000 })
  const [nowMs, oldMs] = [Date.now(), Date.now() - 4_000_000]
  await redis.hset(`${ledger.prefix}task:task_kept`, 'state', 'succeeded')
  const files = new Map<string, number>([
    ['tenants/a/inputs/0123', oldMs],
    ['tenants/a/tasks/task_kept/t/0-a.png', oldMs],
    ['tenants/a/tasks/task_old/t/0-a.png', oldMs],
    ['tenants/a/tasks/task_old/t/1-b.png', oldMs],
    ['tenants/a/tasks/task_young/t/0-a.png', nowMs],
    ['tenants/b/tasks/task_other/t/0-a.png', oldMs]
  ])
  let lists = 0
  const store = {
    list: async (prefix: string, { after = '' }: { after?: string }) => {
      lists++
      const paths = [...files.keys()].filter(path => path.startsWith(`${prefix}/`) && path > after)
      return paths.slice(0, 3).map(path => ({ path, modifiedMs: files.get(path)! }))
    },
    remove: async (prefix: string) => {
      for (const path of [...files.keys()]) if (path.startsWith(`${prefix}/`)) files.delete(path)
    }
  }
  const start = (one: Ledger, node?: string) => {
    const loop = startOutputSweep({ ledger: one, store, node, log })
    t.teardown(() => loop.stop())
    return loop
  }
  const loops = [start(ledger), start(second())]
  const kept = [...files.keys()].filter(path => !/task_(old|other)/.test(path))
  await until('they are gone', () => files.size === kept.length)
  await until('it is told', () => log.lines('outputs of forgotten tasks removed').length > 0)
  t.same([...files.keys()], kept)
  t.same(log.lines('outputs of forgotten tasks removed'), [{ removed: 2 }])
  const before = lists
  await Promise.all([...loops, start(ledger)].map(loop => loop.stop()))
  t.equal(lists, before, 'nobody lists again so soon')
  start(ledger, 'gpu-a')
  await until('a node looks after a store of its own', () => lists > before)
})
