/** The dashboard in a real browser. SCREENSHOTS=<folder> keeps its pictures there; else they are in `.local/dashboard-test-<pid>/screenshots`. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, request as httpRequest } from 'node:http'
import { createRequire } from 'node:module'
import { connect } from 'node:net'
import { delimiter, join } from 'node:path'
import { createClient } from '@comfy-balancer/client/client'
import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { startFleet } from '../src/fleet.ts'
import { makeOwnFolder } from '../src/own-folder.ts'
import { root } from '../src/root.ts'
import { until } from '../src/until.ts'
import { chromiumPath, startBrowser } from './browser.ts'
import { startCrowd } from './crowd.ts'

const redisUrl = process.env.REDIS_URL
if (!redisUrl) throw new Error('REDIS_URL is not set: run the tests with `npm test`')
const patienceMs = 60_000
const folder = makeOwnFolder('dashboard-test')
const screenshots = process.env.SCREENSHOTS ?? join(folder, 'screenshots')
mkdirSync(screenshots, { recursive: true })
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const ownPrefix = () => ({ REDIS_KEY_PREFIX: `{dash-${randomBytes(6).toString('hex')}}:` })

/** A page that must not log an error, break its own content security policy or throw. */
const open = async (t: Test, browser: Browser, address: string, options: BrowserContextOptions = {}): Promise<Page> => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options })
  t.teardown(() => context.close())
  const page = await context.newPage()
  page.on('console', message => ['error', 'warning'].includes(message.type()) && t.fail(`console: ${message.text()}`))
  page.on('pageerror', error => t.fail(`page: ${error.message}`))
  page.setDefaultTimeout(patienceMs)
  await page.goto(address)
  return page
}

/** Asks from outside until it is so: the page's own policy lets nobody evaluate a text inside it. */
const isSo = async (page: Page, expression: string): Promise<void> => {
  const answer = await until(async () => (await page.evaluate(expression)) || undefined, patienceMs)
  if (!answer) throw new Error(`not so within ${patienceMs / 1_000} s: ${expression}`)
}

const shot = (page: Page, name: string) => page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true })

/** Scrolls through the page, so that everything that is drawn only in view is drawn. */
const seeAll = async (page: Page): Promise<void> => {
  for (const image of await page.locator('.sparkline, .picture img').all()) await image.scrollIntoViewIfNeeded()
  await isSo(page, '[...document.images].every(image => image.complete)')
  await page.evaluate('scrollTo(0, 0)')
}

const fitsItsWidth = (page: Page): Promise<boolean> =>
  page.evaluate('document.documentElement.scrollWidth <= document.documentElement.clientWidth')

/** What the focused element is called. */
const focused = (page: Page): Promise<string> =>
  page.evaluate('document.activeElement.ariaLabel ?? document.activeElement.textContent')

const breaches = async (page: Page): Promise<string[]> => {
  await page.evaluate(axe)
  const { violations } = (await page.evaluate('axe.run()')) as {
    violations: { id: string; nodes: { html: string; failureSummary: string }[] }[]
  }
  return violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html} ${nodes[0]?.failureSummary}`)
}

const workflow = (name: string, seed: number, sampler = 'euler'): GenerateRequest => {
  const body = JSON.parse(readFileSync(join(root, `deploy/local/workflows/${name}.json`), 'utf8'))
  for (const { inputs } of Object.values(body.prompt) as { inputs: Record<string, unknown> }[]) {
    if ('seed' in inputs) Object.assign(inputs, { seed, sampler_name: sampler })
  }
  return body
}

/** A stand-in for nvidia-smi, whose figures differ by node and move with the seconds. */
const fakeNvidiaSmi = (): string => {
  const bin = join(folder, 'bin')
  mkdirSync(bin, { recursive: true })
  const figures = [
    '$(( (s * 7 + n) % 35 + 60 ))',
    '$(( (s * 131 + n * 97) % 4000 + 9000 ))',
    '24576',
    '$(( s % 6 + 58 ))'
  ]
  const script = [
    '#!/bin/sh',
    'n=$(printf %s "$NODE_ID" | cksum | cut -c1-2)',
    's=$(date +%s)',
    `echo "0, GPU-$NODE_ID, NVIDIA L40S, ${figures.join(', ')}, $(( s % 40 + 210 )).5"`
  ]
  writeFileSync(join(bin, 'nvidia-smi'), `${script.join('\n')}\n`)
  chmodSync(join(bin, 'nvidia-smi'), 0o755)
  return bin
}

/** A proxy that serves another server under /ops/. */
const startPrefix = async (t: Test, target: string): Promise<string> => {
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    if (!path.startsWith('/ops/')) return void response.writeHead(404).end()
    const forward = httpRequest(
      target + path.slice(4),
      { method: request.method, headers: request.headers },
      answer => {
        response.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(response)
      }
    )
    forward.on('error', () => response.destroy())
    response.on('close', () => forward.destroy())
    request.pipe(forward)
  })
  server.on('upgrade', (request, socket) => {
    const { hostname, port } = new URL(target)
    const upstream = connect(Number(port), hostname)
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket]
    ] as const) {
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
    }
    const { rawHeaders } = request
    const lines = rawHeaders.flatMap((name, i) => (i % 2 === 0 ? `${name}: ${rawHeaders[i + 1]}` : []))
    upstream.write(`GET ${request.url?.slice(4)} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
    socket.pipe(upstream).pipe(socket)
    t.teardown(() => socket.destroy())
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}/ops/`
}

if (chromiumPath === undefined) {
  t.pass('the dashboard in a browser', { skip: 'no Chromium here: install one or set CHROMIUM_PATH' })
} else {
  const browser = await startBrowser()
  t.teardown(() => browser.close())

  t.test('three nodes at work', async t => {
    const env = {
      ...ownPrefix(),
      LOGDY_UI_URL: 'http://127.0.0.1:8081',
      PATH: `${fakeNvidiaSmi()}${delimiter}${process.env.PATH}`
    }
    const simulators = [{ speed: 1 }, { speed: 1 }, { speed: 0.5 }]
    const fleet = await startFleet({ redisUrl, folder, timeScale: 0.4, env, simulators })
    t.teardown(() => fleet.stop(1_000))
    const url = fleet.balancerUrls[0]!
    const client = createClient({ baseUrl: url })
    const page = await open(t, browser, url)
    const verdict = page.locator('.verdict h1')
    const cardBoxes = async () =>
      JSON.stringify(await Promise.all((await page.locator('.node').all()).map(one => one.boundingBox())))

    await t.test('are seen at work without a reload, and nothing jumps', async t => {
      await page.getByText('All 3 nodes are ready').waitFor()
      await page.getByText('No task has ended yet').waitFor()
      const idle = await cardBoxes()
      t.same(await breaches(page), [], 'nothing that axe objects to')
      const names = ['landscape', 'portrait', 'city', 'landscape', 'landscape', 'city', 'portrait']
      await Promise.all(names.map((name, i) => client.generate(workflow(name, i))))
      await Promise.all([
        page.locator('.verdict p', { hasText: /^3 tasks run/ }).waitFor(),
        page.locator('section[aria-labelledby=queue] tbody tr', { hasText: 'default' }).first().waitFor()
      ])
      await page.locator('.ended tbody tr').nth(1).waitFor()
      await page
        .getByText(/KSampler \d+\/\d+/)
        .first()
        .waitFor()
      await page
        .getByText(/about \d+ s left/)
        .first()
        .waitFor()
      await page
        .getByAltText(/^Preview of what gpu-\w makes$/)
        .first()
        .waitFor()
      t.equal(await cardBoxes(), idle, 'a card at work stands where the idle one stood')
      await seeAll(page)
      await shot(page, 'fleet-light')
      t.same(await breaches(page), [])
    })

    await t.test('in the dark, on a phone and at 400 %', async t => {
      const looks = {
        'fleet-dark': { colorScheme: 'dark' },
        'fleet-phone': { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true },
        'fleet-400-percent': { viewport: { width: 320, height: 256 }, deviceScaleFactor: 4 }
      } as const
      for (const [name, look] of Object.entries(looks)) {
        const other = await open(t, browser, url, look)
        await other.locator('.ended tbody tr').first().waitFor()
        await seeAll(other)
        t.ok(await fitsItsWidth(other), `${name} does not scroll sideways`)
        t.same(await breaches(other), [], name)
        if (name !== 'fleet-400-percent') await shot(other, name)
      }
    })

    await t.test('a task is followed to its end and explains itself', async t => {
      const { id } = await client.generate(workflow('city', 99))
      const task = await open(t, browser, `${url}/#/tasks/${id}`)
      await task.getByText(/Runs KSampler, \d+ of \d+/).waitFor()
      await task.getByAltText('Preview of what it makes').waitFor()
      await shot(task, 'task-running')
      await task.locator('.step-good', { hasText: 'Succeeded' }).waitFor()
      await task.locator('.outputs img').waitFor()
      await seeAll(task)
      await isSo(task, '[...document.images].every(image => image.naturalWidth > 0)')
      const story = await task.locator('.steps').textContent()
      for (const words of [
        /Accepted/,
        /Given to gpu-\w, attempt 1/,
        /Predicted .* score/,
        /Executed in/,
        /Stored an output/
      ]) {
        t.match(story, words)
      }
      t.equal(await task.locator('.graph-node').count(), 8)
      await task.getByText('Prompt executed').waitFor()
      t.equal(await task.getByRole('link', { name: 'Open in logdy' }).getAttribute('href'), 'http://127.0.0.1:8081')
      t.same(await breaches(task), [])
      await shot(task, 'task')

      const failing = await client.generate(workflow('portrait', 1, 'no-such-sampler'))
      await task.getByLabel('Open a task by its id').fill(failing.id)
      await task.keyboard.press('Enter')
      await task.getByRole('heading', { name: 'ComfyUI refused the workflow' }).waitFor()
      await task.getByText('trying again as it is will not help').waitFor()
      t.same(await breaches(task), [])
      await shot(task, 'task-failed')
    })

    await t.test('a node is drained and resumed by keyboard, after being asked', async t => {
      await page.getByRole('button', { name: 'Drain gpu-b' }).focus()
      await page.keyboard.press('Enter')
      await page.getByRole('dialog').getByText('gets nothing new until it is resumed').waitFor()
      t.equal(await focused(page), 'Not now', 'what changes nothing is focused first')
      await page.keyboard.press('Escape')
      await page.getByRole('dialog').waitFor({ state: 'hidden' })
      t.equal(await focused(page), 'Drain gpu-b', 'focus is back where it was')
      t.equal((await client.nodes()).find(({ id }) => id === 'gpu-b')?.state, 'ready', 'Escape changes nothing')
      for (let i = 0; i < 20; i++) for (const key of ['Enter', 'Escape']) await page.keyboard.press(key)
      for (const key of ['Enter', 'Tab', 'Enter']) await page.keyboard.press(key)
      await page.getByRole('button', { name: 'Resume gpu-b' }).waitFor()
      await page.getByText('2 of 3 nodes are ready').waitFor()
      await page.getByRole('button', { name: 'Resume gpu-b' }).click()
      await page.getByRole('dialog').getByRole('button', { name: 'Resume' }).click()
      await page.getByText('All 3 nodes are ready').waitFor()
    })

    await t.test('behind a path prefix everything works alike', async t => {
      const behind = await open(t, browser, await startPrefix(t, url))
      await behind.getByText('All 3 nodes are ready').waitFor()
      await client.generate(workflow('landscape', 7))
      await behind
        .getByAltText(/^Preview of what gpu-\w makes$/)
        .first()
        .waitFor()
      await behind.locator('.ended tbody a').first().click()
      await behind.locator('.step-good, .step-bad').first().waitFor()
      await isSo(behind, '[...document.images].every(image => image.naturalWidth > 0)')
    })

    await t.test('a node that dies is named', async t => {
      await fleet.nodes[2]!.service.kill('SIGKILL')
      await page.getByText('1 of 3 nodes is down').waitFor()
      await page.locator('.troubles', { hasText: 'gpu-c' }).getByText('comfy-service is silent').waitFor()
      t.match(await verdict.textContent(), /down/)
      await seeAll(page)
      await shot(page, 'fleet-node-down')
      t.same(await breaches(page), [])
    })
  })

  t.test('the ComfyUI of a node is restarted by a button, after being asked', async t => {
    const simulators = [{ speed: 1 }]
    const fleet = await startFleet({
      ...{ redisUrl, folder: join(folder, 'owned'), env: ownPrefix() },
      ...{ simulators, areOwned: true }
    })
    t.teardown(() => fleet.stop(20_000))
    const url = fleet.balancerUrls[0]!
    const client = createClient({ baseUrl: url })
    const page = await open(t, browser, url)
    await page.getByRole('button', { name: 'Restart gpu-a' }).click()
    await page.getByRole('dialog').getByText('its ComfyUI is started anew').waitFor()
    await page.getByRole('dialog').getByRole('button', { name: 'Restart' }).click()
    const isRestarted = async () => ((await client.nodes())[0]?.comfyui?.care?.restarts === 1 ? true : undefined)
    t.ok(await until(isRestarted, patienceMs), 'once')
    await page.getByRole('button', { name: 'Restart gpu-a' }).waitFor()
    t.same(await breaches(page), [])
  })

  t.test('where keys are asked for one signs in, and an empty fleet says what to do', async t => {
    const env = { ...ownPrefix(), AUTH_MODE: 'keys' }
    const fleet = await startFleet({ redisUrl, folder: join(folder, 'keys'), env, simulators: [] })
    t.teardown(() => fleet.stop(1_000))
    const make = ['create', '--tenant', 'ops', '--name', 'night shift', '--scopes', 'nodes:read,nodes:write,tasks:read']
    const main = join(root, 'services/comfy-balancer/dist/src/keys/main.js')
    const said = execFileSync(process.execPath, [main, ...make], {
      env: { PATH: process.env.PATH, ...env, REDIS_URL: redisUrl },
      encoding: 'utf8'
    })
    const key = /cbk_\w+/.exec(said)?.[0] ?? ''
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 } })
    t.teardown(() => context.close())
    const page = await context.newPage()
    page.setDefaultTimeout(patienceMs)
    await page.goto(fleet.balancerUrls[0]!)
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
    t.same(await breaches(page), [])
    await shot(page, 'sign-in')
    await page.getByLabel('API key').fill(`${key.slice(0, -1)}-`)
    await page.keyboard.press('Enter')
    await page.getByRole('alert').getByText('not an API key').waitFor()
    await page.getByLabel('API key').fill(key)
    await page.keyboard.press('Enter')
    await page.getByText('No node has joined yet').waitFor()
    await page.getByText('night shift, ops').waitFor()
    t.equal(await page.evaluate('document.cookie'), '', 'no script can read the cookie')
    await page.reload()
    await page.getByText('No node has joined yet').waitFor()
    t.same(await breaches(page), [])
    await shot(page, 'fleet-empty')
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  })

  t.test('500 nodes and 10,000 tasks cost less than 100 ms an update and 150 MB', async t => {
    const crowd = await startCrowd()
    t.teardown(crowd.stop)
    const page = await open(t, browser, crowd.url)
    await page.getByText('6 of 500 nodes are down').waitFor()
    const devtools = await page.context().newCDPSession(page)
    await devtools.send('Performance.enable', { timeDomain: 'threadTicks' })
    const metric = async (name: string): Promise<number> =>
      (await devtools.send('Performance.getMetrics')).metrics.find(one => one.name === name)?.value ?? Number.NaN
    const updates = 20
    const sayAndSee = async (): Promise<void> => {
      const before = await page.locator('.verdict p').textContent()
      crowd.say()
      await until(
        async () => ((await page.locator('.verdict p').textContent()) === before ? undefined : true),
        patienceMs
      )
    }
    for (let i = 0; i < 5; i++) await sayAndSee()
    const before = await metric('TaskDuration')
    for (let i = 0; i < updates; i++) await sayAndSee()
    const cpuMs = ((await metric('TaskDuration')) - before) * (1000 / updates)
    await devtools.send('HeapProfiler.collectGarbage')
    const megabytes = (await metric('JSHeapUsedSize')) / 2 ** 20
    t.comment(`${cpuMs.toFixed(1)} ms of CPU an update, ${megabytes.toFixed(1)} MB of heap`)
    t.ok(cpuMs < 100, `${cpuMs} ms`)
    t.ok(megabytes < 150, `${megabytes} MB`)
    t.equal(await page.locator('.node').count(), 48, 'cards come in portions')
    const pictures = await page.locator('.attempt-picture img').count()
    t.ok(pictures > 0 && pictures < 48, `only what is near the view is previewed: ${pictures}`)
    await page.screenshot({ path: join(screenshots, 'fleet-500-nodes.png') })
    await page.getByLabel('Nodes by name, GPU or model').fill('gpu-49')
    t.equal(await page.locator('.node').count(), 11)
    await page.getByRole('button', { name: /^Not ready/ }).click()
    t.equal(await page.locator('.node').count(), 1)
    t.same(await breaches(page), [])
    await page.getByText('Not connected to the balancer').waitFor()
    crowd.say()
    await page.getByText('6 of 500 nodes are down').waitFor()
  })
}
