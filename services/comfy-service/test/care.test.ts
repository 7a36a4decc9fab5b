import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FaultRequest } from '@comfy-balancer/comfyui-simulator/faults/fault'
import { openScratchLedger } from '@comfy-balancer/task-store/scratch-ledger'
import t, { type Test } from 'tap'
import { restartDelayMs } from '../src/care/back-off.ts'
import { createMemoryCare } from '../src/care/memory-care.ts'
import { createOutputLines } from '../src/care/output-lines.ts'
import { freePort, type ServiceProcess, startService, tellFailed } from './service-process.ts'
import { until } from './wait.ts'
import { painting, picture } from './workflows.ts'

t.jobs = 3

const node = 'gpu-test'
const simulatorMain = fileURLToPath(import.meta.resolve('@comfy-balancer/comfyui-simulator/main'))

/** A comfy-service as a process of its own that starts a simulated ComfyUI by COMFYUI_COMMAND. */
const open = async (t: Test, words: readonly string[] = []) => {
  const folder = t.testdir({})
  const scratch = openScratchLedger({ leaseMs: 1_500, aliveMs: 1_000, blindMs: 60_000 })
  const { ledger } = scratch
  const comfyUiPort = await freePort()
  const comfyUiUrl = `http://127.0.0.1:${comfyUiPort}`
  const command = [
    process.execPath,
    simulatorMain,
    '--port',
    String(comfyUiPort),
    '--no-previews',
    '--tell-prompts',
    ...words
  ]
  const port = await freePort()
  const services: ServiceProcess[] = []
  t.teardown(async () => {
    for (const service of services) {
      if (service.isRunning()) service.kill('SIGTERM')
      await Promise.race([service.exited, new Promise(resolve => setTimeout(resolve, 20_000))])
      await service.end()
      tellFailed(t, service)
    }
    await scratch.close()
  })
  const start = (env: Record<string, string | undefined> = {}): ServiceProcess => {
    const service = startService(port, {
      REDIS_KEY_PREFIX: ledger.prefix,
      COMFYUI_URL: comfyUiUrl,
      COMFYUI_COMMAND: JSON.stringify(command),
      OUTPUT_STORE: `folder:${join(folder, 'store')}`,
      SECRET_OF_OTHERS: 'visible',
      NODE_OPTIONS: '',
      ...env
    })
    services.push(service)
    return service
  }
  return {
    folder,
    ledger,
    comfyUiUrl,
    start,
    /** The service when its node takes tasks. */
    started: async (env: Record<string, string | undefined> = {}): Promise<ServiceProcess> => {
      const service = start(env)
      await until('the node is ready', () => isReady(service))
      return service
    },
    record: () => ledger.nodes.find(node),
    fault: async (fault: FaultRequest): Promise<void> => {
      await fetch(`${comfyUiUrl}/simulator/faults`, { method: 'POST', body: JSON.stringify(fault) })
    },
    reasons: async (id: string) => (await ledger.tasks.journal(id, 0)).flatMap(({ reason }) => reason ?? [])
  }
}

const isReady = async (service: ServiceProcess): Promise<boolean> => {
  if (!service.isRunning()) throw new Error(`it has ended: ${service.stderr()}`)
  const answer = await service.get('/api/v1/nodes/self').catch(() => undefined)
  if (answer?.status !== 200) return false
  const { state, comfyui } = (await answer.json()) as { state: string; comfyui: { care?: { state: string } } }
  return state === 'ready' && comfyui.care?.state === 'well'
}

const pidOf = (service: ServiceProcess): number => Number(service.said('comfyui started').at(-1)?.pid)

const isThere = (pid: number): boolean => {
  try {
    return process.kill(pid, 0) && !readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ')
  } catch {
    return false
  }
}

const metricsOf = async (service: ServiceProcess): Promise<string> => {
  const { metricsPort } = await service.untilSaid('listening')
  return (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
}

/** As if an operator had asked a balancer: the very same route. */
const askRestart = (url: string): Promise<Response> => fetch(`${url}/api/v1/nodes/${node}/restart`, { method: 'POST' })

t.test('ComfyUI that dies is started again, its task succeeds, its lines carry the task', async t => {
  const { started, reasons, fault, comfyUiUrl } = await open(t)
  const service = await started()
  const { care } = (await service.node()).comfyui!
  t.same(care, { owned: true, state: 'well', reason: null, restarts: 0 })
  const first = pidOf(service)
  const id = await service.generate(picture(1, 2))
  await service.when(id, 'runs', ({ state }) => state === 'running')
  await fault({ fault: 'crash' })
  t.match(await service.outcome(id), { state: 'succeeded', attempt: 2 })
  t.same(await reasons(id), ['comfyui-died'])
  t.not(pidOf(service), first)
  t.match(service.said('comfyui is restarted'), [{ reason: 'died', delayMs: 1_000, failures: 1 }])
  t.match(await metricsOf(service), /comfy_comfyui_restarts_total\{[^}]*reason="died"[^}]*\} 1/)
  t.equal((await service.node()).comfyui?.care?.restarts, 1)

  const own = service.lines.filter(line => line.source === 'comfyui')
  t.ok(
    own.some(({ msg, taskId }) => msg?.includes('"listening"') && taskId === undefined),
    'a line of nobody'
  )
  t.ok(own.some(({ msg, taskId, attempt }) => msg?.includes('"started"') && taskId === id && attempt === 2))
  const environment = readFileSync(`/proc/${pidOf(service)}/environ`, 'utf8').split('\0')
  t.notOk(
    environment.some(one => /^(REDIS_|OUTPUT_STORE|NODE_ID)/.test(one)),
    'ComfyUI sees nothing of ours'
  )
  t.ok(environment.includes('SECRET_OF_OTHERS=visible'))

  service.kill('SIGTERM')
  t.same(await service.exited, { code: 0, signal: null })
  t.notOk(isThere(pidOf(service)), 'it goes when its comfy-service goes')
  await t.rejects(fetch(comfyUiUrl))
})

t.test('a ComfyUI whose worker is dead is restarted, and the task succeeds', async t => {
  const { started, fault } = await open(t)
  const service = await started({ COMFYUI_SILENT_SECONDS: '2', COMFYUI_CANCEL_SECONDS: '1' })
  await fault({ fault: 'dead-worker' })
  const id = await service.generate(picture(2))
  t.match(await until('it ends', () => endOf(service, id)), { state: 'succeeded', attempt: 2 })
  const [restart] = service.said('comfyui is restarted')
  t.ok(restart?.reason === 'dead-worker' || restart?.reason === 'stuck', JSON.stringify(restart))
})

const endOf = async (service: ServiceProcess, id: string) => {
  const task = await service.task(id)
  return ['succeeded', 'failed', 'cancelled', 'expired'].includes(task.state) && task
}

t.test('on request it finishes what runs, restarts, and comes back by itself', async t => {
  const { started, record } = await open(t)
  const service = await started()
  const url = String((await service.untilSaid('listening')).url)
  const running = await service.generate(picture(3, 2))
  await service.when(running, 'runs', ({ state }) => state === 'running')
  const waiting = await service.generate(picture(4))
  const answer = await askRestart(url)
  t.equal(answer.status, 202)
  t.match(await answer.json(), { id: node, state: 'draining', restarting: true })
  t.match(await service.outcome(running), { state: 'succeeded', attempt: 1 })
  t.match(await until('it ends', () => endOf(service, waiting)), { state: 'succeeded', attempt: 1 })
  t.match(service.said('comfyui is restarted'), [{ reason: 'request', delayMs: 0 }])
  t.match(await record(), { restart: undefined, report: { comfyui: { care: { state: 'well', restarts: 1 } } } })
  const order = service.lines.map(({ msg, taskId }) => `${msg} ${taskId ?? ''}`.trim())
  t.ok(order.indexOf('comfyui is restarted') > order.indexOf(`task succeeded ${running}`))
  t.ok(order.indexOf('comfyui is restarted') < order.indexOf(`attempt taken ${waiting}`))
})

t.test('killed with SIGKILL it leaves ComfyUI behind, and ends that when it is back', async t => {
  const { started, ledger } = await open(t)
  const first = await started()
  const id = await first.generate(picture(5, 60))
  await first.when(id, 'runs', ({ state }) => state === 'running')
  const orphan = pidOf(first)
  await first.end()
  t.ok(isThere(orphan))
  await ledger.tasks.cancel(id, 'default')
  const second = await started()
  t.notOk(isThere(orphan))
  t.match(second.said('comfyui that a killed comfy-service left behind ended'), [{ orphans: 1 }])
  t.match(await second.outcome(await second.generate(picture(6))), { state: 'succeeded', attempt: 1 })
})

t.test("a ComfyUI that somebody else started is left alone, and the node says why it doesn't join", async t => {
  const { start, comfyUiUrl } = await open(t)
  const { createSimulator } = await import('@comfy-balancer/comfyui-simulator/simulator')
  const stranger = createSimulator({ port: Number(new URL(comfyUiUrl).port) })
  await stranger.listen()
  t.teardown(() => stranger.close())
  const service = start()
  t.match(await service.untilSaid('comfyui cannot be started'), { level: 50, reason: /did not start, answers/ })
  await service.untilSaid('node registered')
  t.match((await service.node()).comfyui?.care, { state: 'starting', reason: /another ComfyUI/ })
  const id = await service.generate(picture(7))
  await stranger.close()
  t.match(await until('it ends', () => endOf(service, id)), { state: 'succeeded', attempt: 1 })
})

t.test('the warm-up runs after each start before the first task', async t => {
  const { folder, started, comfyUiUrl } = await open(t, ['--time-scale', '0.05'])
  const file = join(folder, 'warm-up.json')
  writeFileSync(file, painting('dreamshaper_8.safetensors', '7'))
  const service = await started({ COMFYUI_WARM_UP: file })
  t.same((await service.node()).resident, ['dreamshaper_8.safetensors'], 'its model is loaded')
  const executed = async () => {
    const state = (await (await fetch(`${comfyUiUrl}/simulator/state`)).json()) as {
      counters: { promptsExecuted: number }
    }
    return state.counters.promptsExecuted
  }
  t.equal(await executed(), 1)
  const url = String((await service.untilSaid('listening')).url)
  t.equal((await askRestart(url)).status, 202)
  await service.untilSaid('comfyui is warmed up', 2)
  await until('it is ready', () => isReady(service))
  t.equal(await executed(), 1, 'of a ComfyUI that is new')
})

t.test('a warm-up that fails keeps the node out and says why, until it is put right', async t => {
  const { folder, start, started, record } = await open(t)
  const file = join(folder, 'warm-up.json')
  const failing = {
    ...picture(8),
    '5': { class_type: 'TestSyncError', inputs: { value: ['2', 0] } },
    '9': { class_type: 'SaveImage', inputs: { images: ['5', 0], filename_prefix: 'warm' } }
  }
  writeFileSync(file, JSON.stringify(failing))
  const service = start({ COMFYUI_WARM_UP: file })
  t.match(await service.untilSaid('comfyui not warmed up: it is given no tasks'), {
    level: 50,
    reason: /warm-up workflow failed: TestSyncError/
  })
  const id = await service.generate(picture(9))
  await until('the node says why', async () => (await record())?.report.comfyui.care?.state === 'failed')
  const seen = await service.node()
  t.match(seen, { state: 'down', comfyui: { up: true, care: { state: 'failed', reason: /TestSyncError/ } } })
  t.equal((await service.task(id)).state, 'queued')
  writeFileSync(file, JSON.stringify(picture(8)))
  service.kill('SIGTERM')
  await service.exited
  const again = await started({ COMFYUI_WARM_UP: file })
  t.match(await again.outcome(id), { state: 'succeeded', attempt: 1 })
})

t.test('a warm-up that ComfyUI loses is tried again', async t => {
  const { folder, started, comfyUiUrl } = await open(t)
  const { createSimulator } = await import('@comfy-balancer/comfyui-simulator/simulator')
  const comfyUi = createSimulator({ port: Number(new URL(comfyUiUrl).port) })
  await comfyUi.listen()
  t.teardown(() => comfyUi.close())
  comfyUi.fault({ fault: 'lost-history' })
  const file = join(folder, 'warm-up.json')
  writeFileSync(file, JSON.stringify(picture(8)))
  const service = await started({ COMFYUI_COMMAND: undefined, COMFYUI_WARM_UP: file })
  t.equal(service.said('comfyui broke the warm-up off: it is tried again').length, 1)
  t.equal(comfyUi.state().counters.promptsExecuted, 2)
})

t.test('an unreadable warm-up or command stops the start', async t => {
  const { folder, start } = await open(t)
  const file = join(folder, 'warm-up.json')
  writeFileSync(file, '{"1": {}}')
  const faulty = [
    [{ COMFYUI_WARM_UP: file }, /COMFYUI_WARM_UP: .*warm-up\.json: must be a workflow in API format/],
    [{ COMFYUI_WARM_UP: join(folder, 'none') }, /COMFYUI_WARM_UP: must be a file that exists/],
    [{ COMFYUI_COMMAND: 'python main.py' }, /COMFYUI_COMMAND: must be a JSON list/],
    [{ COMFYUI_COMMAND: '', COMFYUI_RESTART_ABOVE_RAM: '0.9' }, /COMFYUI_RESTART_ABOVE_RAM: needs COMFYUI_COMMAND/]
  ] as const
  for (const [env, words] of faulty) {
    const service = start(env)
    t.match(await service.exited, { code: 1 })
    t.match(service.stderr(), words)
  }
})

t.test('a command that does not work is tried again more and more rarely', async t => {
  const { start } = await open(t)
  const service = start({ COMFYUI_COMMAND: '["/no/such/program"]' })
  await service.untilSaid('comfyui is restarted', 3)
  const said = service.said('comfyui is restarted')
  t.match(said.slice(0, 3), [{ delayMs: 1_000 }, { delayMs: 2_000 }, { delayMs: 4_000 }])
  t.match(said[0], { detail: /cannot be started: .*ENOENT/ })
  t.same([1, 2, 6, 7, 100].map(restartDelayMs), [1_000, 2_000, 32_000, 60_000, 60_000], 'up to a minute')
})

t.test('a node that does not own its ComfyUI refuses to restart it', async t => {
  const { start, comfyUiUrl, ledger } = await open(t)
  const { createSimulator } = await import('@comfy-balancer/comfyui-simulator/simulator')
  const simulator = createSimulator({ port: Number(new URL(comfyUiUrl).port) })
  await simulator.listen()
  t.teardown(() => simulator.close())
  const service = start({ COMFYUI_COMMAND: '' })
  await service.untilSaid('node registered')
  const url = String((await service.untilSaid('listening')).url)
  const answer = await askRestart(url)
  t.equal(answer.status, 409)
  t.match(await answer.json(), { code: 'comfyui-not-owned', detail: /set COMFYUI_COMMAND/ })
  await ledger.nodes.wishRestart(node, 'from-before')
  await until('it takes tasks all the same', async () => (await ledger.nodes.find(node))?.restart === undefined)
  t.match(await service.outcome(await service.generate(picture(10))), { state: 'succeeded' })
})

t.test('idle with much VRAM in use it frees its models, unless a waiting task needs them', async t => {
  let [freed, isWanted, vram] = [0, true, 0.9]
  const rules = { idleMs: 100, freeAboveVram: 0.5, restartAboveVram: 0.8, restartAboveRam: undefined }
  const care = createMemoryCare(rules, {
    inUse: () => ({ vram, ram: 1 }),
    isResidentWanted: async () => isWanted,
    free: async () => void freed++
  })
  t.notOk(await care.look(true, 0))
  t.notOk(await care.look(true, 50))
  t.notOk(await care.look(true, 100))
  t.equal(freed, 0, 'a reload would be in vain')
  isWanted = false
  t.notOk(await care.look(true, 101))
  t.notOk(await care.look(true, 5_000))
  t.equal(freed, 1, 'once')
  vram = 0.7
  t.notOk(await care.look(true, 30_000), 'it helped enough')
  vram = 0.9
  t.ok(await care.look(true, 30_001), 'it did not')
  t.notOk(await care.look(true, 90_000), 'what a restart did not help it will not help')
  t.notOk(await care.look(false, 90_001))
  t.notOk(await care.look(true, 90_002))
  t.notOk(await care.look(true, 90_200))
  t.equal(freed, 2)
  const off = createMemoryCare(
    { ...rules, freeAboveVram: undefined, restartAboveVram: undefined },
    {
      inUse: () => ({ vram: 1, ram: 1 }),
      isResidentWanted: async () => false,
      free: async () => void freed++
    }
  )
  t.notOk(await off.look(true, 0))
  t.notOk(await off.look(true, 1_000_000))
  t.equal(freed, 2, 'off unless asked for')
})

t.test('output is cut into lines within bounds', async t => {
  let nowMs = 0
  const got: [string, number][] = []
  const lines = createOutputLines(
    { maxCharacters: 10, burst: 4, perSecond: 1 },
    (line, leftOut) => got.push([line, leftOut]),
    () => nowMs
  )
  lines.add('one\r\ntw')
  lines.add('o\n\n 10%|#\r 50%|##\r\u001b[32m100%|###\u001b[0m\nabcdefghijklmno\nfive\nsix\n')
  nowMs = 1_000
  lines.add('seven')
  t.same(got, [
    ['one', 0],
    ['two', 0],
    ['100%|###', 0],
    ['abcdefghij', 0]
  ])
  lines.end()
  t.same(got.at(-1), ['seven', 2], 'what was left out is counted')
  for (let i = 0; i < 1_000; i++) lines.add('x'.repeat(1_000))
  nowMs = 9_000
  lines.add('\n')
  t.same(got.at(-1), ['x'.repeat(10), 0], 'a line without an end takes no memory')
})

t.test('idle with too much memory in use it frees its models, then restarts ComfyUI, once', async t => {
  const { started } = await open(t, ['--time-scale', '0.05'])
  const service = await started({ COMFYUI_IDLE_SECONDS: '1', COMFYUI_RESTART_ABOVE_RAM: '0' })
  await service.outcome(await service.generate(painting('dreamshaper_8.safetensors', '9')))
  await until('nothing counts as loaded', async () => (await service.node()).resident.length === 0)
  t.ok(service.said('idle comfyui asked to free its memory').length > 0)
  const restarted = () => service.said('comfyui is restarted')
  await until('it is restarted', () => restarted().length > 0)
  t.match(restarted(), [{ reason: 'memory', delayMs: 0 }])
  await until('it is back', () => isReady(service))
  t.match(await metricsOf(service), /comfy_comfyui_restarts_total\{[^}]*reason="memory"[^}]*\} 1/)
})
