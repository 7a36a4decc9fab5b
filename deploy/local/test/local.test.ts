import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import type { Node } from '@comfy-balancer/contract/node'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { advance, drawBoard, type Row } from '../src/demo-board.ts'
import { demoRequests } from '../src/demo-requests.ts'
import { isPng } from '../src/png.ts'
import { freePort } from '../src/port.ts'
import { startProcess } from '../src/processes.ts'
import { provideRedis } from '../src/redis.ts'
import { installHint } from '../src/redis-install.ts'
import { brief, closingLine, readCounts } from '../src/tap-result.ts'
import { until } from '../src/until.ts'

const isGone = (pid: number): true | undefined => {
  try {
    process.kill(pid, 0)
    return undefined
  } catch {
    return true
  }
}

const aProgram = (test: Test, name: string, script: string) => ({
  name,
  command: process.execPath,
  args: ['--eval', script],
  logFile: join(test.testdirName, 'logs', `${name}.log`)
})

t.test('a process is ready when it says so, and ends when asked', async t => {
  t.testdir({})
  const options = aProgram(
    t,
    'polite',
    'console.log("port", process.env.PORT, process.env.HOME); setInterval(() => {}, 1000)'
  )
  const child = await startProcess({
    ...options,
    env: { PORT: '42', HOME: undefined },
    readyWhen: line => /^port (\d+) undefined$/.exec(line)?.[1]
  })
  t.equal(child.ready, '42')
  t.ok(child.isRunning())
  t.same(await child.stop(), { code: null, signal: 'SIGTERM' })
  t.equal(child.lastLines(), 'port 42 undefined')
  t.notOk(child.isRunning())
})

t.test('a process that ends, stays silent or is not there fails with its name and last words', async t => {
  t.testdir({})
  const broken = aProgram(t, 'broken', 'console.error("the port is taken"); process.exit(3)')
  await t.rejects(
    startProcess({ ...broken, readyWhen: () => undefined }),
    /broken ended \(code 3\)[\s\S]*the port is taken/
  )
  const silent = aProgram(t, 'silent', 'setInterval(() => {}, 1000)')
  const started = startProcess({ ...silent, readyWhen: () => undefined, readyWithinMs: 300 })
  await t.rejects(started, /silent is not ready after 0.3 s/)
  const missing = { ...silent, name: 'missing', command: '/no/such/program' }
  await t.rejects(startProcess({ ...missing, readyWhen: () => undefined }), /missing cannot be started/)
})

t.test('a process that ignores SIGTERM is killed, with its children', async t => {
  t.testdir({})
  const script = `
    const { spawn } = require('node:child_process')
    const child = spawn(process.execPath, ['--eval', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
    process.on('SIGTERM', () => {})
    console.log('child', child.pid)`
  const stubborn = await startProcess({
    ...aProgram(t, 'stubborn', script),
    readyWhen: line => /^child (\d+)$/.exec(line)?.[1]
  })
  t.same(await stubborn.stop(200), { code: null, signal: 'SIGKILL' })
  t.ok(await until(() => isGone(Number(stubborn.ready)), 5_000))
})

t.test('kill -9 of the parent leaves no child behind', async t => {
  const logFile = join(t.testdir({}), 'child.log')
  const parentScript = `
    import { startProcess } from ${JSON.stringify(new URL('../src/processes.js', import.meta.url).href)}
    const child = await startProcess({
      name: 'child', command: process.execPath, logFile: ${JSON.stringify(logFile)},
      args: ['--eval', 'console.log("up"); setInterval(() => {}, 1000)'], readyWhen: line => line === 'up' || undefined
    })
    process.stdout.write(String(child.pid))`
  const parent = spawn(process.execPath, ['--input-type=module', '--eval', parentScript])
  const pid = await new Promise<number>(resolve => parent.stdout.once('data', data => resolve(Number(data))))
  t.equal(isGone(pid), undefined)
  parent.kill('SIGKILL')
  t.ok(await until(() => isGone(pid), 10_000), 'the child has ended')
})

t.test('Redis is started with an append-only file and refuses to evict, and its folder goes with it', async t => {
  const given = process.env.REDIS_URL
  t.teardown(() => {
    if (given !== undefined) process.env.REDIS_URL = given
  })
  delete process.env.REDIS_URL
  const provided = await provideRedis()
  const redis = new Redis(provided.url)
  t.same(await redis.config('GET', 'appendonly'), ['appendonly', 'yes'])
  t.same(await redis.config('GET', 'maxmemory-policy'), ['maxmemory-policy', 'noeviction'])
  t.same(await redis.config('GET', 'save'), ['save', ''])
  const [, folder] = (await redis.config('GET', 'dir')) as string[]
  redis.disconnect()
  t.ok(Number.parseInt(provided.version, 10) >= 7)
  await provided.stop()
  t.notOk(existsSync(folder ?? ''))
})

t.test('REDIS_URL is used as it is, and a wrong one is explained without being printed', async t => {
  const given = process.env.REDIS_URL
  t.teardown(() => {
    if (given === undefined) delete process.env.REDIS_URL
    else process.env.REDIS_URL = given
  })
  const refuse = (url: string, reason: RegExp) => {
    process.env.REDIS_URL = url
    return t.rejects(provideRedis(), reason)
  }
  await refuse(`redis://127.0.0.1:${await freePort()}`, /REDIS_URL does not answer/)
  const old = await anOldRedis(t)
  await refuse(old, /This is Redis 6.2.1; comfy-balancer needs Redis 7/)
  t.match(installHint('darwin'), 'brew install valkey')
  t.match(installHint('win32'), 'wsl')
})

const anOldRedis = async (t: Test): Promise<string> => {
  const info = 'redis_version:6.2.1\r\n'
  const server: Server = createServer(socket =>
    socket.on('data', data => {
      const commands = String(data).match(/^\*\d+/gm) ?? []
      for (const _ of commands) socket.write(`$${info.length}\r\n${info}\r\n`)
    })
  )
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const address = server.address()
  return `redis://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
}

t.test('a port that is taken is replaced by a free one', async t => {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const address = server.address()
  const taken = typeof address === 'object' && address ? address.port : 0
  t.not(await freePort(taken), taken)
  const free = await freePort()
  t.equal(await freePort(free), free)
})

t.test("the closing line repeats tap's own counts", async t => {
  const record = [
    'TAP version 14',
    '# Subtest: a.test.js',
    '    not ok 1 - should be equal',
    '      ---',
    '      diff: x',
    '      ...',
    '    not ok 2 - a subtest # time=2ms',
    '      ---',
    '      at: somewhere',
    '      ...',
    '    # { total: 99, pass: 1, fail: 98 }',
    'not ok 1 - a.test.js # time=3ms',
    'ok 2 - b.test.js # time=4ms',
    '1..2',
    '# { total: 9, pass: 5, fail: 2, todo: 1, skip: 1 }',
    '# time=9ms'
  ].join('\n')
  const counts = readCounts(record)
  t.same(counts, { passed: 5, failed: 2, skipped: 1, todo: 1 })
  t.equal(counts && closingLine(counts), '5 passed, 2 failed, 2 skipped')
  t.equal(closingLine({ passed: 3, failed: 0, skipped: 0, todo: 0 }), '3 passed, 0 failed')
  t.equal(readCounts('TAP version 14\n1..2\n'), undefined)
  t.same(brief(record), [
    '    not ok 1 - should be equal',
    '      ---',
    '      diff: x',
    '      ...',
    '    not ok 2 - a subtest # time=2ms',
    'FAILED a.test.js # time=3ms',
    'ok     b.test.js # time=4ms'
  ])
})

t.test('the demo asks for twelve different pictures of three models', async t => {
  const requests = demoRequests()
  t.equal(requests.length, 12)
  t.equal(new Set(requests.map(({ body }) => JSON.stringify(body))).size, 12)
  t.same(new Set(requests.map(({ model }) => model)).size, 3)
})

t.test('the board shows tasks with their progress and nodes with what they run and hold', async t => {
  const row: Row = {
    label: 'lake',
    model: 'sd_xl_base_1.0.safetensors',
    state: 'queued',
    percent: 0,
    node: null,
    attempt: 0
  }
  const event = {
    type: 'task.progress',
    taskId: 'x',
    version: 2,
    at: '',
    attempt: 2,
    node: 'gpu-a',
    state: 'running'
  } as const
  const progress = { percent: 50, graphNode: null, classType: null, value: null, max: null }
  const started = advance(row, { ...event, type: 'task.started' })
  t.match(started, { state: 'running', percent: 0, node: 'gpu-a', attempt: 2 })
  const running = advance(started, { ...event, progress })
  t.match(running, { state: 'running', percent: 50, node: 'gpu-a', attempt: 2 })
  t.match(advance(running, { ...event, type: 'task.retried', state: 'queued', node: null }), { percent: 0, node: null })
  t.equal(advance(running, { ...event, type: 'task.succeeded', state: 'succeeded' }).percent, 100)
  const node = {
    id: 'gpu-a',
    state: 'ready',
    resident: ['a.safetensors'],
    attempt: { task: 'x', attempt: 2, progress: 50 }
  }
  const lines = drawBoard([running], [node as unknown as Node], ['a note'], 200)
  t.match(lines[0], /lake .*sd_xl_base_1.0 .*██████████·········· {3}50% {2}running {4}gpu-a, attempt 2/)
  t.match(lines.join('\n'), /gpu-a +ready +runs lake +holds a\n\na note/)
  t.ok(drawBoard([running], [], [], 40).every(line => line.length < 40))
})

t.test('a picture counts only when it is a whole PNG', async t => {
  const bytes = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
    'base64'
  )
  t.equal(isPng(bytes), true)
  t.equal(isPng(bytes.subarray(0, 40)), false)
  t.equal(isPng(Buffer.from('<html>')), false)
})
