/** Rules, runbooks and dashboards beside what the services really show; with Prometheus and logdy where they are installed. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createClient } from '@comfy-balancer/client/client'
import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import { Redis } from 'ioredis'
import t from 'tap'
import { WebSocket } from 'ws'
import { parse } from 'yaml'
import { type FleetNode, startFleet } from '../src/fleet.ts'
import { startLogdy } from '../src/logdy.ts'
import { makeOwnFolder } from '../src/own-folder.ts'
import type { Process } from '../src/processes.ts'
import { findOnPath } from '../src/redis-install.ts'
import { root } from '../src/root.ts'
import { until } from '../src/until.ts'
import { startPrometheus } from './prometheus.ts'
import { metricsIn, selectorsOf } from './promql.ts'

const redisUrl = process.env.REDIS_URL
if (!redisUrl) throw new Error('REDIS_URL is not set: run the tests with `npm test`')

type Rule = {
  readonly alert?: string
  readonly record?: string
  readonly expr: string
  readonly labels?: Record<string, string>
  readonly annotations?: { readonly summary: string; readonly runbook_url: string }
}
type RuleTests = {
  readonly tests: readonly {
    readonly alert_rule_test: readonly { readonly alertname: string; readonly exp_alerts?: readonly unknown[] }[]
  }[]
}

const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const rulesFile = 'deploy/prometheus/rules/comfy.rules.yml'
const testsFile = 'deploy/prometheus/rules/comfy.rules.test.yml'
const rules = (parse(read(rulesFile)) as { groups: { rules: Rule[] }[] }).groups.flatMap(group => group.rules)
const alerts = rules.filter(rule => rule.alert !== undefined)
const dashboardFolder = 'deploy/grafana/dashboards'
const dashboards = readdirSync(join(root, dashboardFolder))

t.test('every alert says whom it wakes, has a runbook of its own and is fired by a unit test', async t => {
  const fired = (parse(read(testsFile)) as RuleTests).tests.flatMap(({ alert_rule_test: all }) =>
    all.flatMap(({ alertname, exp_alerts: expected }) => (expected?.length ? [alertname] : []))
  )
  const books = alerts.map(({ annotations }) => annotations?.runbook_url ?? '')
  for (const { alert = '', labels, annotations } of alerts) {
    t.match(labels?.severity, /^(page|ticket|none)$/, alert)
    t.ok(fired.includes(alert), `${alert} fires in ${testsFile}`)
    const book = read(annotations!.runbook_url)
    t.ok(book.startsWith(`# ${alert}\n`), annotations!.runbook_url)
    for (const heading of ['What it means', 'What users see', 'How to check', 'What to do'])
      t.match(book, `\n## ${heading}\n\n`, `${alert}: ${heading}`)
    for (const [, link] of book.matchAll(/\]\(([\w-]+\.md)\)/g)) t.doesNotThrow(() => read(`deploy/runbooks/${link}`))
  }
  const files = readdirSync(join(root, 'deploy/runbooks')).filter(name => name !== 'README.md')
  t.same(files.map(name => `deploy/runbooks/${name}`).sort(), books.sort(), 'one each, and none without an alert')
  for (const name of files) t.ok(read('deploy/runbooks/README.md').includes(`(${name})`), `README.md lists ${name}`)
})

const promtool = findOnPath('promtool')

t.test(
  'promtool accepts the configuration and the unit tests of the rules pass',
  { skip: promtool ? false : 'promtool is not installed (Debian: apt-get install prometheus)' },
  async t => {
    for (const args of [
      ['check', 'config', 'deploy/prometheus/prometheus.yml'],
      ['test', 'rules', testsFile]
    ]) {
      const { stdout } = await promisify(execFile)(promtool!, args, { cwd: root, timeout: 60_000 }).catch(
        error => error
      )
      t.match(stdout, /SUCCESS/, `promtool ${args.join(' ')}`)
      t.notMatch(stdout, /FAILED/)
    }
  }
)

const folder = makeOwnFolder('monitoring-test')
const env = { REDIS_KEY_PREFIX: `{monitoring-${randomBytes(6).toString('hex')}}:` }
const logdy = await startLogdy(folder)
const fleet = await startFleet({
  ...{ redisUrl, folder, env, timeScale: 0.02 },
  simulators: [{ speed: 1 }, { speed: 1 }],
  ...(logdy ? { logdy } : {})
})
const client = createClient({ baseUrl: fleet.balancerUrls[0]! })
t.teardown(async () => {
  await fleet.stop(3_000)
  await logdy?.process.stop()
  const redis = new Redis(redisUrl)
  const keys = await redis.keys(`${env.REDIS_KEY_PREFIX}*`)
  if (keys.length > 0) await redis.del(...keys)
  redis.disconnect()
  if (t.passing()) rmSync(folder, { recursive: true, force: true })
})

let posted = 0

const postPicture = async (): Promise<string> => {
  posted++
  const request: GenerateRequest = JSON.parse(read('deploy/local/workflows/landscape.json'))
  return (await client.generate(request)).id
}

const eventually = async <T>(what: string, ask: () => Promise<T | undefined | false> | T | undefined | false) => {
  const answer = await until(async () => (await ask()) || undefined, 60_000)
  if (answer === undefined) throw new Error(`not so within 60 s: ${what}`)
  return answer
}

const metricsAddress = (process: Process): string => {
  const port = /"metricsPort":(\d+).*"msg":"listening"/.exec(readFileSync(process.logFile, 'utf8'))?.[1]
  return `127.0.0.1:${port}`
}

/** A node that came up before the balancer dispatches for itself until it sees that one. */
const leavesDispatchToBalancer = ({ service }: FleetNode): boolean => {
  const log = readFileSync(service.logFile, 'utf8')
  const times = (words: string) => log.split(words).length
  return times('no balancer: this node dispatches for itself') === times('a balancer dispatches')
}

const scrape = async (process: Process): Promise<string> =>
  (await fetch(`http://${metricsAddress(process)}/metrics`, { signal: AbortSignal.timeout(5_000) })).text()

const valueIn = (text: string, series: string): number | undefined => {
  const line = text.split('\n').find(line => line.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length))
}

t.test(
  'the lines of a task are read back from logdy, in order, from both services',
  { skip: logdy ? false : 'logdy is not installed, and there is no Go to build it with' },
  async t => {
    const lines: Record<string, unknown>[] = []
    const socket = new WebSocket(`${logdy!.url.replace('http', 'ws')}/ws?should_follow=true`)
    t.teardown(() => socket.terminate())
    socket.on('message', (data: Buffer) => {
      const { messages = [] } = JSON.parse(data.toString()) as {
        messages?: { json_content: Record<string, unknown> }[]
      }
      lines.push(...messages.map(message => message.json_content))
    })
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    await eventually('no node dispatches for itself', () => fleet.nodes.every(leavesDispatchToBalancer))
    const id = await postPicture()
    const ofTask = () => lines.filter(line => line.taskId === id).sort((a, b) => Number(a.time) - Number(b.time))
    await eventually('logdy has its lines', () => ofTask().length >= 5)
    const told = (service: string) => ofTask().flatMap(line => (line.service === service ? [line.msg] : []))
    t.same(told('comfy-balancer'), ['task accepted', 'task dispatched'])
    t.same(told('comfy-service'), ['attempt taken', 'task started', 'task succeeded'])
    t.equal(ofTask()[0]?.msg, 'task accepted')
    await eventually('the metrics say that logdy is reached', async () =>
      valueIn(await scrape(fleet.balancers[0]!), 'comfy_log_sink_up{sink="logdy"}')
    )
  }
)

t.test('what the services count fits what was done', async t => {
  const id = await postPicture()
  await eventually('it has succeeded', async () => (await client.getTask(id)).state === 'succeeded')
  const succeeded = 'comfy_tasks_finished_total{state="succeeded"}'
  const balancer = await eventually('the balancer counts every task', async () => {
    const text = await scrape(fleet.balancers[0]!)
    return valueIn(text, succeeded) === posted && text
  })
  t.equal(valueIn(balancer, 'comfy_nodes{state="ready"}'), 2)
  t.equal(valueIn(balancer, 'comfy_node_up{node="gpu-a"}'), 1)
  t.equal(valueIn(balancer, 'comfy_redis_up'), 1)
  t.equal(valueIn(balancer, 'comfy_tasks_failed_total{code="attempts-exhausted"}'), 0)
  t.ok(valueIn(balancer, 'comfy_dispatch_claims_total{answer="claimed"}')! > 0)
  t.ok(valueIn(balancer, 'comfy_dispatch_decision_seconds_count')! > 0)
  const nodes = await Promise.all(fleet.nodes.map(({ service }) => scrape(service)))
  const sum = (series: (node: string) => string) =>
    nodes.reduce((total, text, i) => total + (valueIn(text, series(`node="${fleet.nodes[i]!.id}"`)) ?? 0), 0)
  t.equal(
    sum(node => `comfy_attempts_total{outcome="succeeded",${node}}`),
    posted,
    'each by one node'
  )
  t.equal(
    sum(node => `comfy_task_wait_seconds_count{${node}}`),
    posted
  )
  t.equal(
    sum(node => `comfy_task_execution_seconds_count{${node}}`),
    posted
  )
  t.ok(sum(node => `comfy_task_load_seconds_count{${node}}`) > 0)
  t.ok(sum(node => `comfy_gpu_memory_total_bytes{gpu="0",gpu_uuid="",${node}}`) > 0)
  t.notMatch([balancer, ...nodes].join(), /task_[0-9a-f]{8}/, 'no task id is a label')
})

const targetsOf = (dashboard: string): string[] =>
  (
    JSON.parse(read(`${dashboardFolder}/${dashboard}`)) as { panels: { targets?: { expr: string }[] }[] }
  ).panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))

t.test(
  'every expression of a dashboard or a rule names a metric that exists, and no metric is for nothing',
  async t => {
    const scraped = new Map(
      (await Promise.all([fleet.balancers[0]!, fleet.nodes[0]!.service].map(scrape))).flatMap(text => [
        ...metricsIn(text)
      ])
    )
    const recorded = new Set(rules.flatMap(({ record }) => record ?? []))
    const used = new Set<string>()
    const check = (where: string, expression: string) => {
      for (const { metric, labels } of selectorsOf(expression)) {
        used.add(metric.replace(/_(bucket|sum|count)$/, ''))
        if (metric === 'up' || recorded.has(metric)) continue
        const known = scraped.get(metric)
        t.ok(known, `${where}: ${metric}`)
        const unknown = labels.filter(name => name !== 'job' && name !== 'node' && known?.size && !known.has(name))
        t.same(unknown, [], `${where}: labels of ${metric}`)
      }
    }
    for (const { alert, record, expr } of rules) check(alert ?? record ?? '', expr)
    for (const name of dashboards) {
      const { uid, templating } = JSON.parse(read(`${dashboardFolder}/${name}`))
      t.equal(name, `${uid}.json`)
      for (const { definition } of templating.list)
        t.ok(scraped.has(/\((\w+),/.exec(definition)?.[1] ?? ''), definition)
      const expressions = targetsOf(name)
      t.ok(expressions.length > 10, `${name} has panels`)
      for (const expression of expressions) check(name, expression)
    }
    const ours = [...scraped.keys()].filter(name => /^(comfy|http)_/.test(name) && !/_(bucket|sum|count)$/.test(name))
    t.same(
      ours.filter(name => !used.has(name)),
      [],
      'every metric of ours is looked at somewhere'
    )
  }
)

const prometheus = findOnPath('prometheus')

t.test(
  'a real Prometheus scrapes every service, resolves every panel, and an alert fires when a node is killed',
  { skip: prometheus ? false : 'prometheus is not installed (Debian: apt-get install prometheus)' },
  async t => {
    const server = await startPrometheus(prometheus!, join(folder, 'prometheus'), {
      'comfy-balancer': fleet.balancers.map(metricsAddress),
      'comfy-service': fleet.nodes.map(({ service }) => metricsAddress(service))
    })
    t.teardown(server.stop)
    await eventually('all are scraped', async () => (await server.value('sum(up)')) === 3)
    await eventually('the rules have run', async () => (await server.value('comfy:nodes_ready')) === 2)
    for (const expression of dashboards.flatMap(targetsOf)) {
      const filled = expression.replaceAll('$__rate_interval', '1m').replaceAll(/\$(node|job)/g, '.*')
      await server.value(filled)
    }
    t.equal(await server.value('sum(comfy_comfyui_up{node=~".*"})'), 2)
    const firing = async () =>
      (await server.alerts())
        .filter(({ state }) => state === 'firing')
        .map(({ labels }) => `${labels.alertname} ${labels.node ?? ''}`)
    t.notOk((await firing()).includes('ComfyNodeDown gpu-b'))
    fleet.nodes[1]!.service.kill('SIGKILL')
    const now = await eventually('the alert fires', async () => {
      const names = await firing()
      return names.includes('ComfyNodeDown gpu-b') && names
    })
    t.notOk(now.includes('ComfyNodeDown gpu-a'), now.join(', '))
    t.ok(now.includes('ComfyWatchdog '))
  }
)
