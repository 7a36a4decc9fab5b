import { endpoints } from '@comfy-balancer/contract/endpoints/all'
import { Validator } from '@seriousme/openapi-schema-validator'
import t from 'tap'
import { createApiDocument, type OpenApi } from '../src/api-document.ts'
import { runCorpora } from '../src/corpus/corpus.ts'
import { openTraps, type Traps } from '../src/corpus/traps.ts'
import { fuzz } from '../src/fuzz.ts'
import type { WireAnswer, WireRequest } from '../src/request.ts'
import { openStage, type Stage } from '../src/stage.ts'

const seed = 20_261_122
const ciRequests = 4_000
const ciSeconds = 40

/** What the dashboard is made of: a comfy-service has none. */
const ofBalancerAlone = new Set(['openSession', 'getSession', 'endSession', 'watchFleet'])

let traps: Traps
let stage: Stage

t.before(async () => {
  const redisUrl = process.env.REDIS_URL
  if (!redisUrl) throw new Error('REDIS_URL is not set: run the tests with `npm test`')
  traps = await openTraps()
  stage = await openStage(redisUrl, traps.env)
})
t.teardown(async () => {
  await stage?.close()
  await traps?.close()
})

const documentOf = async (url: string): Promise<OpenApi> =>
  (await (await fetch(`${url}/openapi.json`)).json()) as OpenApi

t.test('each service serves a valid OpenAPI document that knows every endpoint and what it asks for', async t => {
  for (const [name, url] of Object.entries(stage.urls)) {
    const document = await documentOf(url)
    const { valid, errors } = await new Validator().validate(structuredClone(document))
    t.ok(valid, `${name}: ${JSON.stringify(errors)?.slice(0, 500)}`)
    const served = endpoints.filter(
      ({ schema }) => name === 'comfy-balancer' || !ofBalancerAlone.has(schema.operationId)
    )
    for (const { method, url: path, scope, schema } of served) {
      const operation = document.paths[path.replace(/:([A-Za-z]+)/g, '{$1}')]?.[method.toLowerCase()]
      if (operation?.operationId !== schema.operationId) {
        t.fail(`${name} does not list ${schema.operationId}`)
        continue
      }
      t.same(operation.security, scope === null ? undefined : [{ apiKey: [scope] }], schema.operationId)
      for (const status of ['415', 'default'])
        t.same(Object.keys(operation.responses[status]?.content ?? {}), ['application/problem+json'])
    }
    const output = document.paths['/api/v1/tasks/{id}/outputs/{output}']
    t.match(output?.head, { operationId: 'getOutput-head' })
    t.same(Object.keys(output?.get?.responses['200']?.content ?? {}), ['*/*'])
    const events = document.paths['/api/v1/tasks/{id}/events']
    t.same(Object.keys(events?.get?.responses['200']?.content ?? {}), ['text/event-stream'])
  }
})

t.test('what the document does not promise is noticed', async t => {
  const document = createApiDocument(await documentOf(stage.urls['comfy-balancer']!))
  const request: WireRequest = { method: 'GET', target: '/api/v1/tasks', headers: {}, body: undefined, twist: '' }
  const answer = (status: number, body: unknown, type = 'application/json', more = {}): WireAnswer => ({
    ...{ status, headers: { 'content-type': type, 'x-request-id': 'r', ...more } },
    body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
  })
  const problem = (status: number, code: string) =>
    [status, { type: 't', title: 't', status, code, detail: 'd', requestId: 'r' }, 'application/problem+json'] as const
  const empty = { data: [], nextCursor: null }
  t.same(document.faultsOf(request, answer(200, empty)), [])
  t.same(document.faultsOf(request, answer(...problem(429, 'rate-limited'), { 'retry-after': '3' })), [])
  const cases: readonly [RegExp, WireAnswer, Partial<WireRequest>?][] = [
    [/^500/, answer(...problem(500, 'internal-error'))],
    [/does not list 418/, answer(418, {})],
    [/does not fit its schema/, answer(200, { data: 7, nextCursor: null })],
    [/content type text\/html/, answer(200, '<p>', 'text/html')],
    [/is not JSON/, answer(200, '{')],
    [/without an honest Retry-After/, answer(...problem(503, 'draining'))],
    [/without an honest Retry-After/, answer(...problem(429, 'rate-limited'), { 'retry-after': '0' })],
    [/comes without WWW-Authenticate/, answer(...problem(401, 'unauthenticated'))],
    [/code gone with status 404/, answer(...problem(404, 'gone'))],
    [/is not a problem/, answer(404, {})],
    [/405 without Allow/, answer(...problem(405, 'method-not-allowed'))],
    [/accepted although query limit does not fit/, answer(200, empty), { target: '/api/v1/tasks?limit=x' }],
    [/accepted although query limit stands twice/, answer(200, empty), { target: '/api/v1/tasks?limit=1&limit=1' }],
    [/HEAD is answered with a body/, answer(200, empty), { method: 'HEAD' }]
  ]
  for (const [fault, bad, more] of cases) {
    const faults = document.faultsOf({ ...request, ...more }, bad)
    t.ok(
      faults.some(one => fault.test(one)),
      `${fault.source}: ${faults.join('; ')}`
    )
  }
})

t.test('every hostile body, name, URL and byte is refused as it should be', async t => {
  for (const { name, tried, faults } of await runCorpora(stage, traps)) {
    t.ok(tried > 10, `${name}: ${tried}`)
    t.same(faults, [], name)
  }
  t.same(traps.caught, [], 'nobody was led to the victim')
  t.ok(new Set(traps.visited).size >= 8, 'the redirects were followed up to the check')
})

t.test('generated requests, right and wrong, are answered as the document says', async t => {
  const result = await fuzz(stage, { seed, seconds: ciSeconds, requests: ciRequests })
  t.comment(`${result.sent} requests, ${JSON.stringify(result.statuses)}, never served: ${result.neverServed}`)
  t.ok(result.sent > 500, `${result.sent} requests`)
  for (const id of ['generate', 'putTemplate', 'uploadInput'])
    t.notOk(result.neverServed.includes(id), `${id} is served`)
  t.same(result.mismatches, [])
  t.equal(result.serverErrors, 0)
  for (const url of Object.values(stage.urls))
    t.equal((await fetch(`${url}/readyz`)).status, 200, 'it is well after all')
})
