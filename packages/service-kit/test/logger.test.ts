import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createLogger } from '../src/logger.ts'
import { shortLine } from '../src/short-line.ts'
import { until } from './support.ts'

const lineLimit = 65_536
type Record = { [field: string]: unknown; msg: string; err?: { message: string }; n?: number }

/** Behaves as logdy's socket mode: one JSON text per line, and a connection with a line of 64 KiB is dropped. */
class FakeLogdy {
  readonly records: Record[] = []
  readonly sockets = new Set<Socket>()
  port = 0
  isStalled = false
  #server: Server | undefined

  async listen(port = 0): Promise<void> {
    this.#server = createServer(socket => this.#accept(socket)).listen(port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.port = (this.#server.address() as { port: number }).port
  }

  async kill(how: 'reset' | 'end'): Promise<void> {
    const server = this.#server
    this.#server = undefined
    server?.close()
    for (const socket of this.sockets) how === 'reset' ? socket.resetAndDestroy() : socket.destroy()
    if (server?.listening) await once(server, 'close')
  }

  numbers(): number[] {
    return this.records.flatMap(record => (record.n === undefined ? [] : [record.n]))
  }

  #accept(socket: Socket): void {
    this.sockets.add(socket)
    let rest = ''
    socket.setEncoding('utf8')
    if (this.isStalled) socket.pause()
    socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket))
    socket.on('data', (text: string) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      if (rest.length >= lineLimit || lines.some(line => line.length >= lineLimit)) return void socket.resetAndDestroy()
      for (const line of lines) this.records.push(JSON.parse(line))
    })
  }
}

const loggerUrl = new URL('../src/logger.js', import.meta.url).href

/** tap's loader, which it passes on in NODE_OPTIONS, keeps pino's worker from starting on Node 20. */
const start = (t: Test, port: number, body: string, queueBytes = 8_388_608) => {
  const script = `
    import { createLogger } from ${JSON.stringify(loggerUrl)}
    const options = { service: 'comfy-test', instance: 'one', level: 'info' }
    const { logger, close, logdy } = createLogger({ ...options, logdy: { host: '127.0.0.1', port: ${port}, queueBytes: ${queueBytes} } })
    const next = () => new Promise(resolve => process.stdin.once('data', text => resolve(String(text))))
    ${body}`
  const node = ['-u', 'NODE_OPTIONS', process.execPath, '--input-type=module', '-e', script]
  const child = spawn('env', node, { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => void child.kill('SIGKILL'))
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', text => {
    stdout += text
  })
  return { child, closed: once(child, 'close'), stdout: () => stdout }
}

const aLogdy = async (t: Test): Promise<FakeLogdy> => {
  const logdy = new FakeLogdy()
  await logdy.listen()
  t.teardown(() => logdy.kill('end'))
  return logdy
}

const say = (child: ChildProcess, word: string): void => void child.stdin?.write(word)

t.test('with logdy down at the start the process logs everything to stdout and leaves at once', async t => {
  const logdy = await aLogdy(t)
  await logdy.kill('end')
  const run = start(
    t,
    logdy.port,
    `for (let n = 0; n < 500; n++) logger.info({ n }, 'line')
     await next()
     process.exit(0)`
  )
  await until(() => run.stdout().split('\n').length > 500)
  const startedAtMs = performance.now()
  say(run.child, 'go')
  const [code] = await run.closed
  t.equal(code, 0)
  t.ok(performance.now() - startedAtMs < 1500)
  t.equal(run.stdout().trim().split('\n').length, 500)
})

t.test('a logdy that starts late, and one that is killed twice, gets every line that waited', async t => {
  const logdy = await aLogdy(t)
  await logdy.kill('end')
  const run = start(
    t,
    logdy.port,
    `let n = 0
     for (;;) {
       const word = await next()
       if (word.includes('end')) break
       for (let i = 0; i < 200; i++) logger.info({ n: n++ }, 'line')
     }
     await close()
     logger.info('after close')
     process.stdin.destroy()`
  )
  say(run.child, 'go')
  await until(() => run.stdout().includes('"n":199'))
  await logdy.listen(logdy.port)
  await until(() => logdy.numbers().length === 200)
  for (const [round, how] of (['reset', 'end'] as const).entries()) {
    await logdy.kill(how)
    await until(() => logdy.sockets.size === 0)
    say(run.child, 'go')
    await until(() => run.stdout().includes(`"n":${399 + round * 200}`))
    await logdy.listen(logdy.port)
    await until(() => logdy.numbers().includes(399 + round * 200), 12_000)
  }
  t.same(
    logdy.numbers(),
    Array.from({ length: 600 }, (_, n) => n)
  )
  say(run.child, 'end')
  t.equal((await run.closed)[0], 0)
  t.match(run.stdout(), /after close/)
})

t.test('a stalled logdy costs a bounded amount of memory and nothing at stdout', async t => {
  const logdy = await aLogdy(t)
  logdy.isStalled = true
  const run = start(
    t,
    logdy.port,
    `const text = 'x'.repeat(10_000)
     let stats
     for (let n = 0; n < 2000; n++) {
       logger.info({ n, text }, 'line')
       if (n % 50 === 0) await new Promise(setImmediate)
     }
     while (!(logdy()?.droppedTotal > 0)) await new Promise(resolve => setTimeout(resolve, 20))
     logger.info({ stats: logdy() }, 'done')
     await close()`,
    1_000_000
  )
  await until(() => run.stdout().slice(-200).includes('"msg":"done"'), 15_000)
  const lines = run.stdout().trim().split('\n')
  const done: { stats: { queueBytes: number; droppedTotal: number } } = JSON.parse(
    lines.find(line => line.includes('"done"')) ?? ''
  )
  t.ok(done.stats.queueBytes <= 1_000_000)
  t.ok(done.stats.droppedTotal > 0)
  t.equal(lines.length, 2001)
  t.equal((await run.closed)[0], 0)
})

t.test('a long line is shortened, and characters of several bytes arrive whole', async t => {
  const logdy = await aLogdy(t)
  const run = start(
    t,
    logdy.port,
    `const wide = '\\u{1F600}é漢'.repeat(4000)
     logger.info({ n: 0, taskId: 'task_1', text: 'x'.repeat(90_000) }, 'long')
     logger.info({ n: 1, wide }, 'wide')
     logger.error({ n: 2, text: 'y'.repeat(90_000), err: new Error('\\u0000'.repeat(50_000)) }, '\\u0001'.repeat(50_000))
     for (let n = 3; n < 100; n++) logger.info({ n, wide: wide.slice(0, 5 * n) }, 'wide')
     await next()
     await close()
     process.stdin.destroy()`
  )
  await until(() => logdy.records.length === 100)
  t.match(logdy.records[0], { msg: 'long', taskId: 'task_1', service: 'comfy-test' })
  t.ok(Number(logdy.records[0]?.shortenedFromBytes) > 90_000)
  t.equal(logdy.records[1]?.wide, '\u{1F600}é漢'.repeat(4000))
  t.match(logdy.records[2], { errorSource: 'ours' })
  t.equal(logdy.numbers().length, 98)
  say(run.child, 'end')
  await run.closed
})

t.test('a shortened line is below 60,000 bytes whatever it holds', async t => {
  const worst = '\u0001'.repeat(60_000)
  const fields = ['service', 'instance', 'node', 'nodeId', 'event', 'reqId', 'taskId', 'errorSource', 'trace_id', 'msg']
  const record = Object.fromEntries(fields.map(name => [name, worst]))
  const line = JSON.stringify({ ...record, level: 50, err: { type: worst, message: worst, stack: worst } })
  t.ok(Buffer.byteLength(shortLine(line, 60_000).line) < 60_000)
  t.match(JSON.parse(shortLine('x'.repeat(70_000), 60_000).line), { shortenedFromBytes: 70_000 })
})

t.test('errors say whose they are, and credentials never reach the log', async t => {
  const records: Record[] = []
  const destination = { write: (line: string) => void records.push(JSON.parse(line)) }
  const { logger } = createLogger({ service: 's', instance: 'i', level: 'debug', destination })
  const cause = new Error('GET https://u:canary@h/x?token=canary&a=1 failed')
  const err = Object.assign(new Error('redis://:canary@h is away', { cause }), {
    code: 'ECONN',
    command: { args: ['canary'] }
  })
  logger.error({ err }, 'ours')
  logger.warn({ err, errorSource: 'comfyui' }, 'theirs')
  logger.child({ errorSource: 'comfyui' }).error({ err }, 'theirs by child')
  logger.error(err)
  logger.info({ password: 'canary', a: { token: 'canary' }, req: { headers: { authorization: 'canary' } } }, 'neither')
  t.same(
    records.map(record => record.errorSource),
    ['ours', 'comfyui', 'comfyui', 'ours', undefined]
  )
  t.match(records[0]?.err, { type: 'Error', code: 'ECONN', cause: { message: /a=1 failed/ } })
  t.ok(!JSON.stringify(records.map(({ msg, ...record }) => record)).includes('canary'))
})
