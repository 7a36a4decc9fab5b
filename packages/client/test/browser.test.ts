/** The client in a browser: the modules that it is made of, as they are built. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { problem } from '@comfy-balancer/contract/problem'
import t from 'tap'

const packages = new URL('../../../', import.meta.url)

const typebox = { '@sinclair/typebox': '/typebox/index.mjs' }

const fileOf = (path: string): URL => {
  const [, name, file] = /^\/@comfy-balancer\/([^/]+)\/(.+)$/.exec(path) ?? []
  if (name) return new URL(`${name}/dist/src/${file}`, packages)
  return new URL(`contract/node_modules/@sinclair/typebox/build/esm${path.replace(/^\/typebox/, '')}`, packages)
}

const importsOf = (path: string): string[] => {
  const found = readFileSync(fileOf(path), 'utf8').matchAll(
    /^(?:import|export)\b(?:[\w\s{},*$]*\bfrom)?\s*['"]([^'"]+)['"]/gm
  )
  return [...found].map(([, specifier]) => specifier!)
}

const pathOf = (specifier: string, from: string): string | undefined => {
  if (specifier.startsWith('.')) return new URL(specifier, `http://x${from}`).pathname
  if (specifier.startsWith('@comfy-balancer/')) return `/${specifier}.js`
  return specifier === '@sinclair/typebox' ? typebox[specifier] : undefined
}

const entries = ['@comfy-balancer/client/client', '@comfy-balancer/client/problem-error']
const reached = new Set(entries.map(entry => `/${entry}.js`))
/** Where the page finds what it and the modules import by name. */
const importMap: Record<string, string> = { ...typebox, ...Object.fromEntries(entries.map(one => [one, `/${one}.js`])) }
const foreign: string[] = []
for (const path of reached) {
  for (const specifier of importsOf(path)) {
    const imported = pathOf(specifier, path)
    if (imported === undefined) foreign.push(`${path} imports ${specifier}`)
    else reached.add(imported)
    if (imported !== undefined && !specifier.startsWith('.')) importMap[specifier] = imported
  }
}

t.test('nothing that the client imports, however far away, belongs to Node', async t => {
  t.same(foreign, [])
  t.ok(reached.has('/@comfy-balancer/client/wire.js'))
  t.ok(reached.has('/@comfy-balancer/contract/task.js'))
  t.ok(reached.has('/typebox/index.mjs'))
})

const places = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const chromium = [process.env.CHROMIUM_PATH ?? '', ...places].find(path => path !== '' && existsSync(path))

const page = `<!doctype html><script type="importmap">${JSON.stringify({ imports: importMap })}</script>
<script type="module">
const seen = {}
try {
  const { createClient } = await import('@comfy-balancer/client/client')
  const { ProblemError } = await import('@comfy-balancer/client/problem-error')
  const client = createClient({ baseUrl: location.origin, apiKey: 'k' })
  const { id } = await client.generate({ template: 'x' })
  seen.events = []
  for await (const { type } of client.watch(id)) seen.events.push(type)
  const task = await client.wait(id)
  seen.bytes = await (await client.download(task.outputs[0])).text()
  seen.upload = (await client.upload(new Blob(['abc']))).bytes
  const error = await client.cancel(id).catch(error => error)
  seen.refused = error instanceof ProblemError && error.code
} catch (error) {
  seen.error = String(error)
}
await fetch('/seen', { method: 'POST', body: JSON.stringify(seen) })
</script>`

const task = { id: 'task_1', state: 'succeeded', outputs: [{ url: '/api/v1/tasks/task_1/outputs/1-0' }] }
const events = [
  { type: 'task.started', version: 2, state: 'running' },
  { type: 'task.succeeded', version: 3, state: 'succeeded' }
]
const stream = events.map(event => `id: ${event.version}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)

/** A service as far as the page asks it; the first post finds it busy. */
const aService = () => {
  let posts = 0
  const replies: Record<string, () => [status: number, type: string, body: string]> = {
    'GET /': () => [200, 'text/html', page],
    'POST /api/v1/generate': () =>
      ++posts === 1
        ? [503, 'application/problem+json', JSON.stringify(problem('queue-full', 'wait'))]
        : [202, 'application/json', JSON.stringify(task)],
    'GET /api/v1/tasks/task_1': () => [200, 'application/json', JSON.stringify(task)],
    'GET /api/v1/tasks/task_1/events': () => [200, 'text/event-stream', stream.join('')],
    'GET /api/v1/tasks/task_1/outputs/1-0': () => [200, 'image/png', 'bytes'],
    'POST /api/v1/inputs': () => [201, 'application/json', JSON.stringify({ bytes: 3 })],
    'DELETE /api/v1/tasks/task_1': () => [
      409,
      'application/problem+json',
      JSON.stringify(problem('task-already-finished', 'it has'))
    ]
  }
  return ({ method, url = '/' }: IncomingMessage, response: ServerResponse) => {
    const { pathname } = new URL(url, 'http://x')
    const [status, type, body] = replies[`${method} ${pathname}`]?.() ?? aModule(pathname)
    response.writeHead(status, { 'content-type': type }).end(body)
  }
}

const aModule = (path: string): [number, string, string | Buffer] =>
  reached.has(path) ? [200, 'text/javascript', readFileSync(fileOf(path))] : [404, 'text/plain', 'not here']

t.test(
  'a page generates, watches, waits, downloads, uploads and is refused',
  { skip: chromium === undefined && 'there is no Chromium here (CHROMIUM_PATH names one)' },
  async t => {
    const serve = aService()
    const server = createServer()
    const seen = new Promise<string>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error('the page said nothing for 60 s')), 60_000)
      server.on('request', async (request: IncomingMessage, response: ServerResponse) => {
        let body = ''
        for await (const chunk of request) body += chunk
        if (request.url !== '/seen') return serve(request, response)
        response.writeHead(204).end()
        clearTimeout(late)
        resolve(body)
      })
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const quiet = ['background-networking', 'component-update', 'sync', 'gpu'].map(what => `--disable-${what}`)
    const options = ['--headless', '--no-sandbox', '--no-first-run', ...quiet, `--user-data-dir=${t.testdir({})}`]
    const browser = spawn(chromium!, [...options, '--remote-debugging-port=0', `http://127.0.0.1:${port}/`], {
      env: { ...process.env, NODE_OPTIONS: '' },
      stdio: 'ignore'
    })
    const ended = new Promise(resolve => browser.once('exit', resolve))
    t.teardown(async () => {
      browser.kill()
      await ended
      server.closeAllConnections()
      server.close()
    })
    t.same(JSON.parse(await seen), {
      events: ['task.started', 'task.succeeded'],
      bytes: 'bytes',
      upload: 3,
      refused: 'task-already-finished'
    })
  }
)
