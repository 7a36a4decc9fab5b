/** Webhooks by the real programs: the receiver is down for a while, balancers die meanwhile. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type Client, createClient } from '@comfy-balancer/client/client'
import type { WebhookDeliveryList, WebhookMessage, WebhookSecret } from '@comfy-balancer/contract/webhook'
import { webhookEvents } from '@comfy-balancer/contract/webhook'
import { Redis } from 'ioredis'
import { Webhook } from 'standardwebhooks'
import t from 'tap'
import { startFleet } from '../src/fleet.ts'
import { makeOwnFolder } from '../src/own-folder.ts'
import { type Process, startProcess } from '../src/processes.ts'
import { root } from '../src/root.ts'
import { until } from '../src/until.ts'

const redisUrl = process.env.REDIS_URL
if (!redisUrl) throw new Error('REDIS_URL is not set: run the tests with `npm test`')

type Got = { readonly headers: IncomingHttpHeaders; readonly body: string }

const got: Got[] = []
const receiver = createServer(async (request, response) => {
  let body = ''
  for await (const chunk of request) body += chunk
  got.push({ headers: request.headers, body })
  response.writeHead(204).end()
})
receiver.listen(0, '127.0.0.1')
await once(receiver, 'listening')
const { port } = receiver.address() as AddressInfo
const goDown = () => {
  receiver.closeAllConnections()
  receiver.close()
}
goDown()

const folder = makeOwnFolder('webhooks-test')
const env = {
  REDIS_KEY_PREFIX: `{webhooks-${randomBytes(6).toString('hex')}}:`,
  WEBHOOK_RETRY_SECONDS: Array(32).fill('1').join(','),
  EGRESS_ALLOW_PRIVATE_CIDRS: '127.0.0.0/8',
  EGRESS_PORTS_ALLOW: String(port)
}
const fleet = await startFleet({
  ...{ redisUrl, folder, env, timeScale: 0.01, balancers: 1 },
  simulators: [{ speed: 1 }]
})
const extras: Process[] = []
t.teardown(async () => {
  if (receiver.listening) goDown()
  for (const extra of extras) await extra.stop()
  await fleet.stop()
  const redis = new Redis(redisUrl)
  const keys = await redis.keys(`${env.REDIS_KEY_PREFIX}*`)
  if (keys.length > 0) await redis.del(...keys)
  redis.disconnect()
  if (t.passing()) rmSync(folder, { recursive: true, force: true })
})

t.test(
  'a receiver that was down, with a balancer killed meanwhile, is told every event in order and signed',
  async t => {
    const first = fleet.balancerUrls[0]!
    const { secret } = (await json(`${first}/api/v1/webhook-secret`, 'PUT')) as WebhookSecret
    const early = await generate(createClient({ baseUrl: first }), 5)
    await eventually('the first have ended and were tried in vain', async () => {
      const { data } = await deliveries(first, 'state=pending&limit=200')
      const tried = data.filter(({ type, tries }) => type === 'task.queued' && tries > 0).length
      return tried === 5 && data.filter(({ type }) => type === 'task.succeeded').length === 5
    })
    fleet.balancers[0]!.kill('SIGKILL')
    const second = await startBalancer()
    const late = await generate(createClient({ baseUrl: second.ready }), 3)
    await eventually('nothing has arrived so far', () => got.length === 0)
    receiver.listen(port, '127.0.0.1')
    for (const id of [...early, ...late]) {
      await eventually(`${id} is told to its end`, () => eventsOf(id).at(-1) === 'task.succeeded')
      t.same(eventsOf(id), ['task.queued', 'task.dispatched', 'task.started', 'task.output', 'task.succeeded'])
    }
    const client = createClient({ baseUrl: second.ready })
    for (const { headers, body } of got) {
      const { data } = new Webhook(secret).verify(body, headers as Record<string, string>) as WebhookMessage
      t.equal(headers['webhook-id'], `${data.event.taskId}-${data.event.version}`)
      if (data.event.state !== 'succeeded') continue
      const bytes = await client.download(data.task!.outputs[0]!)
      t.equal(bytes.headers.get('content-type'), 'image/png', 'the picture that the message names is there')
    }
    await eventually('each is recorded as delivered', async () => {
      const { data } = await deliveries(second.ready, 'state=delivered&limit=200')
      return data.length === 40
    })
    await second.stop()
  }
)

t.test('a comfy-service without a balancer delivers for itself', async t => {
  const alone = fleet.nodes[0]!
  const [id] = (await generate(createClient({ baseUrl: alone.url }), 1)) as [string]
  await eventually('its webhook is told', () => eventsOf(id).at(-1) === 'task.succeeded')
  t.same(eventsOf(id), ['task.queued', 'task.dispatched', 'task.started', 'task.output', 'task.succeeded'])
})

let color = 0

async function generate(client: Client, count: number): Promise<string[]> {
  const ids: string[] = []
  for (let i = 0; i < count; i++) {
    const prompt = {
      '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: ++color } },
      '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'webhook' } }
    }
    const webhook = { url: `http://127.0.0.1:${port}/hook`, events: webhookEvents }
    ids.push((await client.generate({ prompt, webhook })).id)
  }
  return ids
}

/** The types of a task's events as they arrived, those that came twice but once. */
function eventsOf(task: string): string[] {
  const messages = got.map(({ body }) => (JSON.parse(body) as WebhookMessage).data.event)
  const seen = new Map(messages.filter(({ taskId }) => taskId === task).map(event => [event.version, event.type]))
  return [...seen.values()]
}

async function json(url: string, method = 'GET'): Promise<unknown> {
  const body = method === 'PUT' ? { body: '{}', headers: { 'content-type': 'application/json' } } : {}
  return (await fetch(url, { method, ...body })).json()
}

async function deliveries(url: string, query: string): Promise<WebhookDeliveryList> {
  return (await json(`${url}/api/v1/webhook-deliveries?${query}`)) as WebhookDeliveryList
}

async function startBalancer(): Promise<Process & { readonly ready: string }> {
  const balancer = await startProcess({
    name: 'balancer-2',
    command: process.execPath,
    args: [join(root, 'services/comfy-balancer/dist/src/main.js')],
    env: {
      ...{ ...env, REDIS_URL: redisUrl, HOST: '127.0.0.1', PORT: '0', METRICS_PORT: '0' },
      OUTPUT_STORE: `folder:${join(folder, 'outputs')}`
    },
    logFile: join(folder, 'logs', 'balancer-2.log'),
    readyWhen: line => /"url":"([^"]+)".*"msg":"listening"/.exec(line)?.[1]
  })
  extras.push(balancer)
  return balancer
}

async function eventually(what: string, ask: () => Promise<boolean> | boolean): Promise<void> {
  if (!(await until(async () => (await ask()) || undefined, 60_000))) throw new Error(`never: ${what}`)
}
