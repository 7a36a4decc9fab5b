import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { every } from '../src/every.ts'
import { createMetrics } from '../src/metrics.ts'
import { measureService } from '../src/service-metrics.ts'
import { aLog, until } from './support.ts'

t.test('a loop runs at once, again after its interval, and never twice at a time', async t => {
  let atOnce = 0
  let most = 0
  let runs = 0
  const loop = every({
    name: 'test',
    intervalMs: 1,
    jitter: 0.5,
    log: aLog().log,
    run: async () => {
      most = Math.max(most, ++atOnce)
      await new Promise(setImmediate)
      runs++
      atOnce--
    }
  })
  t.teardown(() => loop.stop())
  loop.wake()
  await until(() => runs >= 5)
  t.equal(most, 1)
  await loop.stop()
  const stoppedAt = runs
  loop.wake()
  let later = 0
  const other = every({ name: 'other', intervalMs: 1, log: aLog().log, run: async () => void later++ })
  t.teardown(() => other.stop())
  await until(() => later >= 3)
  t.equal(runs, stoppedAt)
})

t.test('wakes during a run cause exactly one more', async t => {
  const releases: (() => void)[] = []
  let pauses = 0
  const loop = every({
    name: 'test',
    intervalMs: 60_000,
    random: () => ++pauses,
    log: aLog().log,
    run: () => new Promise<void>(resolve => releases.push(resolve))
  })
  t.teardown(() => loop.stop())
  await until(() => releases.length === 1)
  for (let i = 0; i < 5; i++) loop.wake()
  t.equal(releases.length, 1)
  releases[0]?.()
  await until(() => releases.length === 2)
  t.equal(pauses, 0)
  releases[1]?.()
  await until(() => pauses === 1)
  t.equal(releases.length, 2)
  loop.wake()
  await until(() => releases.length === 3)
  releases[2]?.()
})

t.test('a throwing run is logged once per reason and runs again until it succeeds', async t => {
  const { log, lines } = aLog()
  let runs = 0
  const loop = every({
    name: 'failing',
    intervalMs: 1,
    log,
    run: async () => {
      if (++runs <= 5) throw new Error('away')
    }
  })
  t.teardown(() => loop.stop())
  await until(() => lines.some(line => line.message === 'loop runs again'))
  t.same(
    lines.map(line => line.message),
    ['loop run failed', 'loop runs again']
  )
  t.match(lines[0], { level: 'error', fields: { loop: 'failing', err: { message: 'away' } } })
  t.match(lines[1], { fields: { failures: 5 } })
})

t.test('a run past its deadline is aborted and the loop goes on', async t => {
  const { log, lines } = aLog()
  let runs = 0
  const loop = every({
    name: 'slow',
    intervalMs: 1,
    deadlineMs: 20,
    log,
    run: signal => {
      runs++
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    }
  })
  t.teardown(() => loop.stop())
  await until(() => runs === 2)
  t.match(lines[0], { level: 'warn', fields: { loop: 'slow', deadlineMs: 20 } })
  t.match(lines[1], { level: 'error', fields: { err: { message: /longer than 20 ms/ } } })
})

t.test('an outer signal stops the loop and aborts the run without an error in the log', async t => {
  const { log, lines } = aLog()
  const outer = new AbortController()
  let aborted = false
  let runs = 0
  every({
    name: 'test',
    intervalMs: 1,
    signal: outer.signal,
    log,
    run: signal => {
      runs++
      return new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => {
          aborted = true
          reject(signal.reason)
        })
      )
    }
  })
  await until(() => runs === 1)
  outer.abort()
  await until(() => aborted)
  await new Promise(setImmediate)
  t.same(lines, [])
})

const shutdownUrl = new URL('../src/shutdown.js', import.meta.url).href
const script = (body: string) => `
import { onShutdown } from ${JSON.stringify(shutdownUrl)}
const write = level => (fields, message) => console.log(JSON.stringify({ level, ...fields, err: fields.err?.message, message }))
const log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error'), fatal: write('fatal') }
const alive = setInterval(() => {}, 1000)
${body}
console.log('up')
`

const runScript = async (t: Test, body: string, signals: readonly NodeJS.Signals[]) => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script(body)], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => void child.kill('SIGKILL'))
  let output = ''
  child.stdout.setEncoding('utf8').on('data', text => {
    output += text
  })
  const closed = once(child, 'close')
  for (const [index, signal] of signals.entries()) {
    await until(() => output.includes(index === 0 ? 'up' : 'shutting down'))
    child.kill(signal)
  }
  const [code] = await closed
  return { code, output }
}

t.test('a signal runs the steps in order, past failing and hanging ones, and exits with 0', async t => {
  const { code, output } = await runScript(
    t,
    `onShutdown([
      { name: 'first', deadlineMs: 1000, run: () => {} },
      { name: 'broken', deadlineMs: 1000, run: () => { throw new Error('no') } },
      { name: 'hanging', deadlineMs: 30, run: () => new Promise(() => {}) },
      { name: 'last', deadlineMs: 1000, run: async () => {} }
    ], log)`,
    ['SIGTERM']
  )
  t.equal(code, 0)
  const steps = [...output.matchAll(/"step":"(\w+)".*"message":"([^"]+)"/g)].map(match => `${match[1]}: ${match[2]}`)
  t.same(steps, [
    'first: shutdown step done',
    'broken: shutdown step failed',
    'hanging: shutdown step is past its deadline',
    'last: shutdown step done'
  ])
})

t.test('a second signal leaves at once with 1, and an uncaught error takes the same way with 1', async t => {
  const hanging = `onShutdown([{ name: 'hanging', deadlineMs: 60000, run: () => new Promise(() => {}) }], log)`
  t.equal((await runScript(t, hanging, ['SIGTERM', 'SIGINT'])).code, 1)
  const crashing = `onShutdown([{ name: 'only', deadlineMs: 1000, run: () => {} }], log)
    setTimeout(() => Promise.reject(new Error('boom')), 1)`
  const { code, output } = await runScript(t, crashing, [])
  t.equal(code, 1)
  t.match(output, /"level":"fatal".*"boom"/)
  t.match(output, /"step":"only"/)
})

t.test('metrics are shown on a listener of their own', async t => {
  const metrics = createMetrics()
  t.teardown(() => metrics.close())
  const port = await metrics.listen({ host: '127.0.0.1', port: 0 })
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`)
  t.match(answer.headers.get('content-type'), /text\/plain; version=/)
  t.match(await answer.text(), /process_cpu_seconds_total/)
  t.equal((await fetch(`http://127.0.0.1:${port}/`)).status, 404)
})

t.test('a service shows whether Redis answers and how the way to logdy fares', async t => {
  const metrics = createMetrics({ node: 'gpu-a' })
  const { log } = aLog()
  const stats = { up: false, queued: 1, queueBytes: 70, droppedTotal: 3, shortenedTotal: 0 }
  let asked = 0
  const ping = async () => {
    asked++
    throw new Error('away')
  }
  const loop = measureService(metrics, { version: '1', ping, logdy: () => stats, log })
  t.teardown(() => loop.stop())
  await until(() => asked > 0)
  await new Promise(resolve => setImmediate(resolve))
  const text = async () => (await metrics.registry.metrics()).split('\n')
  t.ok((await text()).includes('comfy_redis_up{node="gpu-a"} 0'))
  const sink = '{sink="logdy",node="gpu-a"}'
  for (const line of [`comfy_log_sink_up${sink} 0`, `comfy_log_queue_bytes${sink} 70`])
    t.ok((await text()).includes(line))
  t.ok((await text()).includes(`comfy_log_dropped_lines_total${sink} 3`))
  t.ok((await text()).includes(`comfy_log_dropped_lines_total${sink} 3`), 'a total is not counted twice')
})
