/** The real programs as `npm start` runs them, on ports of their own. BURSTS=50 repeats the bursts of the first test so often. */
import { randomBytes } from 'node:crypto'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Client, createClient } from '@comfy-balancer/client/client'
import type { TaskEvent } from '@comfy-balancer/contract/event'
import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import type { Node } from '@comfy-balancer/contract/node'
import type { Task } from '@comfy-balancer/contract/task'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { type FleetNode, startFleet } from '../src/fleet.ts'
import { makeOwnFolder } from '../src/own-folder.ts'
import { isPng } from '../src/png.ts'
import { type Process, startProcess } from '../src/processes.ts'
import { root } from '../src/root.ts'
import { until } from '../src/until.ts'

const redisUrl = process.env.REDIS_URL
if (!redisUrl) throw new Error('REDIS_URL is not set: run the tests with `npm test`')

/** Slow GPUs that load quickly: a model takes 0.2 or 0.7 s, a step of `aWorkflow` 30 ms, and drawing costs this machine little. */
const gpu = { speed: 0.1 }
const timeScale = 0.1
const models = ['sd_xl_base_1.0.safetensors', 'dreamshaper_8.safetensors'] as const
const bursts = Number(process.env.BURSTS ?? 3)
const leaseMs = 5_000
const terminal = ['task.succeeded', 'task.failed', 'task.cancelled', 'task.expired']

const onePixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='

const folder = makeOwnFolder('fleet-test')
const env = { REDIS_KEY_PREFIX: `{fleet-${randomBytes(6).toString('hex')}}:` }
const extras: Process[] = []
const comfyUis = new Map<string, Process>()
const fleet = await startFleet({
  ...{ redisUrl, folder, env, timeScale, balancers: 2 },
  simulators: [gpu, gpu, gpu, gpu]
})
const [one, two] = fleet.balancerUrls.map(baseUrl => createClient({ baseUrl })) as [Client, Client]
t.teardown(endFleet)
for (const { id, simulator } of fleet.nodes) comfyUis.set(id, simulator!)

t.test('a burst of 8 equal tasks through two balancers reaches every idle node before any works twice', async t => {
  let spread = 0
  let idleMs = 0
  for (let burst = 0; burst < bursts; burst++) {
    const model = models[burst % models.length]!
    await eventually('the fleet is idle and cold', async () => isIdle(await two.nodes(), { without: model }))
    const posted = await Promise.all(
      Array.from({ length: 8 }, (_, i) => (i % 2 ? two : one).generate(aWorkflow({ model, steps: 10 })))
    )
    const tasks = await pictures(t, one, posted)
    const journals = await Promise.all(tasks.map(({ id }) => journal(two, id)))
    const stays = journals.map(stayOf)
    if (isSpread(stays)) spread++
    else t.comment(`burst ${burst}`, stays.map(stay => JSON.stringify(stay)).sort())
    idleMs = Math.max(idleMs, longestIdleMs(stays))
    t.ok(tasks.every(({ attempt }) => attempt === 1))
  }
  t.equal(spread, bursts, `${spread} of ${bursts} bursts; at most ${idleMs} ms idle while work waited`)
})

t.test('both a balancer and a comfy-service log a task under its id', async t => {
  const { id } = await one.generate(aWorkflow({ steps: 2 }))
  const [task] = await pictures(t, two, [{ id }])
  const service = fleet.nodes.find(node => node.id === task?.node)!.service
  const messages = (processes: readonly Process[]) =>
    processes.flatMap(({ logFile }) => logLines(logFile)).flatMap(line => (line.taskId === id ? [line.msg] : []))
  await eventually('the service has told of its end', () => messages([service]).includes('task succeeded'))
  t.ok(messages(fleet.balancers).includes('task dispatched'), 'on the stdout of a balancer')
  t.match(messages([service]), ['attempt taken', 'task started', 'task succeeded'])
})

t.test("who asks for previews sees ComfyUI's, through any balancer", async t => {
  const { id } = await one.generate(aWorkflow({ steps: 40 }))
  const stream = await fetch(`${fleet.balancerUrls[1]}/api/v1/tasks/${id}/events?previews=1`)
  const text = await stream.text()
  const seen = [...text.matchAll(/^event: task\.preview\ndata: (.+)$/gm)].map(
    ([, data]) => JSON.parse(data!) as TaskEvent
  )
  t.match(seen[0], { taskId: id, state: 'running', preview: { mediaType: 'image/jpeg' } })
  t.same(Buffer.from(seen[0]!.preview!.data, 'base64').subarray(0, 2), Buffer.from([0xff, 0xd8]), 'a JPEG')
  t.match(text, /^event: task\.succeeded$/m)
})

t.test('in a storm of cancels each answer is kept, no ComfyUI holds on to a prompt, and the others finish', async t => {
  const posted = await Promise.all(
    Array.from({ length: 20 }, (_, i) => (i % 2 ? two : one).generate(aWorkflow({ steps: 40 })))
  )
  const early = posted.slice(0, 2).map(({ id }) => one.cancel(id))
  const running = await eventually('three are running', async () => {
    const now = await Promise.all(posted.slice(2).map(({ id }) => one.getTask(id)))
    const found = now.filter(isWellBeforeItsEnd)
    return found.length >= 3 ? found.slice(0, 3) : undefined
  })
  const chosen = new Set(running.map(({ id }) => id))
  const waiting = posted
    .slice(2)
    .filter(({ id }) => !chosen.has(id))
    .slice(-5)
  const late = [...running, ...waiting].map(({ id }, i) => (i % 2 ? two : one).cancel(id))
  const cancelled = await Promise.all([...early, ...late])
  t.equal(cancelled.length, 10)
  t.ok(
    cancelled.every(({ state }) => state === 'cancelled'),
    'each was answered with its end'
  )
  const gone = new Set(cancelled.map(({ id }) => id))
  await pictures(
    t,
    two,
    posted.filter(({ id }) => !gone.has(id))
  )
  for (const { id } of cancelled) {
    t.equal((await one.getTask(id)).state, 'cancelled')
    t.same((await journal(two, id)).map(({ type }) => type).filter(isTerminal), ['task.cancelled'])
    t.equal((await one.cancel(id)).state, 'cancelled', 'cancelling again changes nothing')
  }
  await t.rejects(one.cancel(posted.find(({ id }) => !gone.has(id))!.id), /task-already-finished/)
  await eventually('all nodes are idle', async () => isIdle(await one.nodes()))
  for (const { comfyUiUrl } of fleet.nodes)
    t.same((await simulatorState(comfyUiUrl)).queue, { running: [], pending: [] })
})

t.test(
  'a ComfyUI that dies under its service gives its task back at once, and works again when it is back',
  async t => {
    const posted = await post(one, 6, { steps: 40 })
    const { task, node } = await aRunningTask(posted)
    const killedAtMs = performance.now()
    comfyUis.get(node.id)?.kill('SIGKILL')
    const events = await follow(two, task.id, ({ type }) => type === 'task.retried')
    const backMs = events.at(-1)!.seenAtMs - killedAtMs
    t.ok(backMs < 2_000, `back in the queue after ${Math.round(backMs)} ms`)
    t.match(events.at(-1), { reason: 'comfyui-died' })
    await eventually('the node is down', async () => (await stateOf(node.id)) === 'down')
    const [rescued] = await pictures(t, two, [task])
    t.not(rescued?.node, node.id)
    t.equal(rescued?.attempt, 2)
    await pictures(t, one, posted)
    comfyUis.set(node.id, await startComfyUi(`comfyui-of-${node.id}`, Number(new URL(node.comfyUiUrl).port)))
    await eventually('the node is ready again', async () => (await stateOf(node.id)) === 'ready')
    t.match(await pictures(t, one, [await one.generate(aWorkflow({ on: node.id }))]), [{ node: node.id }])
  }
)

t.test('a node joins while work waits and takes some; nodes that leave finish or hand back what they run', async t => {
  const posted = await post(one, 28, { steps: 40 })
  const comfyUi = await startComfyUi('comfyui-e')
  const joining = await startService('gpu-e', comfyUi.ready, { SHUTDOWN_SECONDS: '5' })
  const taken = await eventually('the newcomer runs a task', async () => (await nodeOf('gpu-e'))?.attempt)
  await eventually('it is running there', async () => (await two.getTask(taken.task!)).state === 'running')
  joining.kill('SIGTERM')
  const leaving = fleet.nodes[3]!
  const finishing = await eventually('the leaving one works', async () => (await nodeOf(leaving.id))?.attempt)
  leaving.service.kill('SIGTERM')
  t.same(await Promise.all([joining.exited, leaving.service.exited]), [
    { code: 0, signal: null },
    { code: 0, signal: null }
  ])
  const tasks = await pictures(t, two, posted)
  const handedBack = await journal(one, taken.task!)
  t.match(
    handedBack.find(({ type }) => type === 'task.retried'),
    { attempt: 1, reason: 'hand-back' }
  )
  t.match(
    tasks.find(({ id }) => id === finishing.task),
    { node: leaving.id, attempt: 1 },
    'with time to drain it finishes'
  )
  for (const id of ['gpu-e', leaving.id]) t.equal(await stateOf(id), 'down')
})

t.test('kill -9 of a node: its task is taken up elsewhere, and its events go on at the other balancer', async t => {
  const posted = await post(one, 8, { steps: 40 })
  const { task, node } = await aRunningTask(posted)
  let killedAtMs = Number.POSITIVE_INFINITY
  const events = await follow(two, task.id, ({ type }) => {
    if (type === 'task.started' && killedAtMs === Number.POSITIVE_INFINITY) {
      node.service.kill('SIGKILL')
      comfyUis.get(node.id)?.kill('SIGKILL')
      killedAtMs = performance.now()
    }
    return isTerminal(type)
  })
  const changes = events.filter(({ type }) => type !== 'task.progress')
  const back = changes.find(({ type }) => type === 'task.retried')
  const again = changes.find(({ type, attempt }) => type === 'task.dispatched' && attempt === 2)
  const [backMs, againMs] = [back, again].map(event => Math.round((event?.seenAtMs ?? Number.NaN) - killedAtMs))
  t.ok(backMs! < leaseMs + 1_000, `back in the queue after ${backMs} ms, claimed again after ${againMs} ms`)
  t.same(
    changes.map(({ version }) => version),
    changes.map((_, i) => i + 1),
    'ids rise by one'
  )
  t.equal(changes.at(-1)?.type, 'task.succeeded')
  t.match(again, { attempt: 2 })
  t.not(again?.node, node.id)
  t.equal(await stateOf(node.id), 'down')
  await pictures(t, two, posted)
})

t.test('a file that comes along is there again after a failover', async t => {
  const picture = Buffer.from(onePixel, 'base64')
  const { id } = await one.upload(picture, { filename: 'ref.png' })
  const names = ['ref.png', 'inline.png']
  const posted = await one.generate({
    prompt: {
      ...Object.fromEntries(names.map(image => [image, { class_type: 'LoadImage', inputs: { image } }])),
      join: { class_type: 'ImageBatch', inputs: { image1: ['ref.png', 0], image2: ['inline.png', 0] } },
      wait: { class_type: 'TestSleep', inputs: { value: ['join', 0], seconds: 20 } },
      save: { class_type: 'SaveImage', inputs: { images: ['wait', 0], filename_prefix: 'x' } }
    },
    inputs: { 'ref.png': { upload: id }, 'inline.png': { base64: onePixel } }
  })
  const first = await eventually('it runs', async () => {
    const now = await two.getTask(posted.id)
    return now.state === 'running' && fleet.nodes.find(node => node.id === now.node)
  })
  const { port } = new URL(first.comfyUiUrl)
  comfyUis.get(first.id)?.kill('SIGKILL')
  const ended = await two.wait(posted.id, { timeoutMs: 60_000 })
  t.match(ended, { state: 'succeeded', attempt: 2, outputs: { length: 2 } })
  t.not(ended.node, first.id)
  comfyUis.set(first.id, await startComfyUi(`${first.id}-again`, Number(port)))
  await eventually('its node is back', async () => (await stateOf(first.id)) === 'ready')
})

t.test('kill -9 of one balancer loses nothing; without any, the nodes go on by themselves', async t => {
  const first = [...(await post(one, 4, { steps: 30 })), ...(await post(two, 4, { steps: 30 }))]
  await aRunningTask(first)
  fleet.balancers[0]!.kill('SIGKILL')
  await fleet.balancers[0]!.exited
  await pictures(t, two, first)
  t.ok(
    (await Promise.all(first.map(({ id }) => two.getTask(id)))).every(({ attempt }) => attempt === 1),
    'undisturbed'
  )

  const second = await post(two, 6, { steps: 30 })
  await aRunningTask(second, two)
  fleet.balancers[1]!.kill('SIGKILL')
  const killedAtMs = performance.now()
  const alive = fleet.nodes.filter(({ service }) => service.isRunning())
  const [direct] = alive.map(({ url }) => createClient({ baseUrl: url })) as [Client]
  const own = await direct.generate(aWorkflow({ steps: 2 }))
  t.match(
    await pictures(t, direct, [...second, own]),
    second.map(() => ({ attempt: 1 }))
  )
  t.comment(`all done ${Math.round(performance.now() - killedAtMs)} ms after the last balancer`)
  t.equal((await direct.getTask(own.id)).node, alive[0]?.id, 'a task posted to a node stays on it')
})

type Workflow = { model?: string; steps?: number; on?: string }

/** A picture of 512 × 512 with a seed of its own. */
function aWorkflow({ model = models[0], steps = 10, on }: Workflow = {}): GenerateRequest {
  const file = join(root, 'deploy/local/workflows/landscape.json')
  const { prompt } = JSON.parse(readFileSync(file, 'utf8')) as {
    prompt: Record<string, { inputs: Record<string, unknown> }>
  }
  prompt[1]!.inputs.ckpt_name = model
  Object.assign(prompt[4]!.inputs, { width: 512, height: 512 })
  Object.assign(prompt[5]!.inputs, { steps, seed: randomBytes(4).readUInt32BE() })
  return { prompt, ...(on ? { nodeSelector: { node: on } } : {}) } as GenerateRequest
}

function post(client: Client, count: number, workflow: Workflow): Promise<Task[]> {
  return Promise.all(Array.from({ length: count }, () => client.generate(aWorkflow(workflow))))
}

type Nothing = undefined | null | false

/** Asks until there is an answer, at most half a minute. */
async function eventually<T>(what: string, ask: () => Promise<T | Nothing> | T | Nothing): Promise<T> {
  const answer = await until(async () => (await ask()) || undefined, 30_000)
  if (answer === undefined) throw new Error(`not within 30 s: ${what}`)
  return answer
}

/** When a task was accepted, and from when to when it had a node. */
type Stay = { readonly node: string | null; readonly queuedMs: number; readonly fromMs: number; readonly toMs: number }

function stayOf(events: readonly TaskEvent[]): Stay {
  const start = events.find(({ type }) => type === 'task.dispatched')!
  const [queuedMs, fromMs, toMs] = [events[0]!, start, events.at(-1)!].map(({ at }) => Date.parse(at))
  return { node: start.node, queuedMs: queuedMs!, fromMs: fromMs!, toMs: toMs! }
}

/** Whether every node of the fleet was given its first task before any was given a second. */
function isSpread(stays: readonly Stay[]): boolean {
  const byNode = fleet.nodes.map(({ id }) => stays.flatMap(({ node, fromMs }) => (node === id ? [fromMs] : [])).sort())
  const lastFirst = Math.max(...byNode.map(([first]) => first ?? Number.POSITIVE_INFINITY))
  return byNode.every(([, second]) => second === undefined || second >= lastFirst)
}

/** The longest time that a node without a task and a task without a node waited beside each other. */
function longestIdleMs(stays: readonly Stay[]): number {
  const idle = stays.flatMap(({ queuedMs, fromMs }) =>
    fleet.nodes.map(({ id }) => {
      const earlier = stays.filter(stay => stay.node === id && stay.fromMs < fromMs)
      return fromMs - Math.max(queuedMs, ...earlier.map(({ toMs }) => toMs))
    })
  )
  return Math.max(0, ...idle)
}

/** Waits for tasks and checks that each succeeded exactly once with one PNG. */
async function pictures(t: Test, client: Client, tasks: readonly { id: string }[]): Promise<Task[]> {
  const ended = await Promise.all(tasks.map(({ id }) => client.wait(id, { timeoutMs: 60_000 })))
  for (const task of ended) {
    const bytes = await Promise.all(task.outputs.map(async one => (await client.download(one)).arrayBuffer()))
    const ends = (await journal(client, task.id)).map(({ type }) => type).filter(isTerminal)
    const isFine =
      task.state === 'succeeded' && bytes.length === 1 && isPng(Buffer.from(bytes[0]!)) && ends.length === 1
    if (!isFine) t.fail(`${task.id}: ${task.state}, ${bytes.length} outputs, ends ${ends}`, { error: task.error })
  }
  t.ok(ended.length === tasks.length, `${ended.length} pictures`)
  return ended
}

type Seen = TaskEvent & { readonly seenAtMs: number }

/** A task's events up to the first that `isLast`. */
async function follow(client: Client, id: string, isLast: (event: TaskEvent) => boolean): Promise<Seen[]> {
  const seen: Seen[] = []
  for await (const event of client.watch(id, { signal: AbortSignal.timeout(60_000) })) {
    seen.push({ ...event, seenAtMs: performance.now() })
    if (isLast(event)) break
  }
  return seen
}

function journal(client: Client, id: string): Promise<Seen[]> {
  return follow(client, id, () => false)
}

function isTerminal(type: string): boolean {
  return terminal.includes(type)
}

/** One of the tasks that runs now, and the node that runs it. */
async function aRunningTask(tasks: readonly Task[], client = two): Promise<{ task: Task; node: FleetNode }> {
  return eventually('one of them is running', async () => {
    const now = await Promise.all(tasks.map(({ id }) => client.getTask(id)))
    const task = now.find(isWellBeforeItsEnd)
    const node = fleet.nodes.find(({ id }) => id === task?.node)
    return task && node && { task, node }
  })
}

function isWellBeforeItsEnd({ state, progress }: Task): boolean {
  return state === 'running' && (progress?.percent ?? 0) < 60
}

async function nodeOf(id: string): Promise<Node | undefined> {
  return (await two.nodes()).find(node => node.id === id)
}

async function stateOf(id: string): Promise<string | undefined> {
  return (await nodeOf(id))?.state
}

function isIdle(nodes: readonly Node[], { without }: { without?: string } = {}): boolean {
  return nodes.every(
    ({ attempt, comfyui, resident }) =>
      attempt === null && comfyui?.queueRemaining === 0 && !(without && resident.includes(without))
  )
}

async function simulatorState(url: string): Promise<{ queue: { running: string[]; pending: string[] } }> {
  return (await (await fetch(`${url}/simulator/state`)).json()) as Awaited<ReturnType<typeof simulatorState>>
}

function logLines(file: string): Record<string, unknown>[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter(line => line.startsWith('{') && line.endsWith('}'))
    .map(line => JSON.parse(line))
}

async function startComfyUi(name: string, port = 0) {
  const home = join(folder, name)
  const simulator = await startProcess({
    name,
    command: process.execPath,
    args: [
      join(root, 'packages/comfyui-simulator/dist/src/main.js'),
      ...['--port', String(port), '--speed', String(gpu.speed), '--time-scale', String(timeScale)],
      ...['output', 'input', 'temp'].flatMap(kind => [`--${kind}-dir`, join(home, kind)])
    ],
    logFile: join(folder, 'logs', `${name}.log`),
    readyWhen: line => /"url":"([^"]+)"/.exec(line)?.[1]
  })
  extras.push(simulator)
  return simulator
}

async function startService(id: string, comfyUiUrl: string, more: Record<string, string>) {
  const service = await startProcess({
    name: id,
    command: process.execPath,
    args: [join(root, 'services/comfy-service/dist/src/main.js')],
    env: {
      ...{ ...env, ...more, REDIS_URL: redisUrl, HOST: '127.0.0.1', PORT: '0', METRICS_PORT: '0' },
      ...{ NODE_ID: id, COMFYUI_URL: comfyUiUrl, OUTPUT_STORE: `folder:${join(folder, 'outputs')}` }
    },
    logFile: join(folder, 'logs', `${id}.log`),
    readyWhen: line => /"url":"([^"]+)".*"msg":"listening"/.exec(line)?.[1]
  })
  extras.unshift(service)
  return service
}

/** Leaves the logs behind when something failed; the next run removes them. */
async function endFleet(): Promise<void> {
  await fleet.stop()
  for (const extra of extras) await extra.stop()
  const redis = new Redis(redisUrl!)
  const keys = await redis.keys(`${env.REDIS_KEY_PREFIX}*`)
  if (keys.length > 0) await redis.del(...keys)
  redis.disconnect()
  if (t.passing()) rmSync(folder, { recursive: true, force: true })
}
