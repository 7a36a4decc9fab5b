import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Catalog } from '@comfy-balancer/contract/catalog'
import type { Group } from '@comfy-balancer/contract/group'
import type { Problem } from '@comfy-balancer/contract/problem'
import type { Task, TaskList } from '@comfy-balancer/contract/task'
import type { Preview, Template, TemplateList } from '@comfy-balancer/contract/template'
import { aNode } from '@comfy-balancer/task-store/scratch-node'
import t, { type Test } from 'tap'
import { openBalancer } from './balancer.ts'

const catalog: Catalog = {
  classes: {
    KSampler: { output: false, required: ['seed'], choices: {}, uploads: [] },
    LoraLoader: { output: false, required: ['lora_name'], choices: { lora_name: 0 }, uploads: [] },
    LoadImage: { output: false, required: ['image'], choices: {}, uploads: ['image'] },
    SaveImage: { output: true, required: ['images'], choices: {}, uploads: [] }
  },
  lists: [['a.safetensors', 'b.safetensors']],
  modelBytes: {}
}

const graph = (text = 'photo of {{product}}, {{style}}') => ({
  '3': { class_type: 'KSampler', inputs: { seed: 7, cfg: 7, positive: text, model: ['4', 0], image: ['5', 0] } },
  '4': { class_type: 'LoraLoader', inputs: { lora_name: 'a.safetensors', strength: 1 } },
  '5': { class_type: 'LoadImage', inputs: { image: 'here.png', strength: 0.5 } },
  '9': { class_type: 'SaveImage', inputs: { images: ['3', 0], filename_prefix: 'x' } }
})

const template = {
  description: 'A product',
  input_schema: {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    required: ['product'],
    properties: {
      product: { type: 'string', minLength: 1, maxLength: 40, pattern: '^[a-z ]+$' },
      style: { type: 'string', enum: ['premium', 'plain'], default: 'plain' },
      seed: { type: ['integer', 'string'], minimum: 5, maximum: 18446744073709552000 },
      cfg: { type: 'number', exclusiveMinimum: 0, maximum: 30 },
      face: { type: 'string', default: 'here.png' },
      face_strength: { type: 'number', minimum: 0, maximum: 1 },
      lora: { type: 'string' }
    }
  },
  prompt: graph(),
  bindings: {
    product: '3.inputs.positive',
    style: { to: '"3".inputs.positive', map: { premium: 'luxurious', plain: 'simple' } },
    seed: '3.inputs.seed',
    cfg: '3.inputs.cfg',
    face: '5.inputs.image',
    face_strength: '5.inputs.strength',
    lora: '4.inputs.lora_name'
  }
}

const sharedFolder = (t: Test, files: Readonly<Record<string, unknown>>): string => {
  const folder = mkdtempSync(join(tmpdir(), 'templates-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content))
  }
  return folder
}

/** A balancer without its loops, with one node that is known, and the templates of a folder. */
const open = async (t: Test, files: Readonly<Record<string, unknown>> = {}, more: Record<string, string> = {}) => {
  const { url, ledger } = await openBalancer(t, {
    ...{ store: {}, env: { TEMPLATES_DIR: sharedFolder(t, files), ...more } }
  })
  await ledger.nodes.register(aNode({ catalog, files: ['here.png'] }))
  const send = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const text = typeof body === 'string' ? body : body === undefined ? null : JSON.stringify(body)
    const json: Record<string, string> = text === null ? {} : { 'content-type': 'application/json' }
    const answer = await fetch(`${url}/api/v1${path}`, { method, body: text, headers: { ...json, ...headers } })
    return { status: answer.status, text: await answer.text(), headers: answer.headers }
  }
  const ask = async <T>(method: string, path: string, body?: unknown): Promise<T> =>
    JSON.parse((await send(method, path, body)).text) as T
  const generate = <T = Task>(body: unknown) => ask<T>('POST', '/generate', body)
  const literals = async (task: string): Promise<Record<string, Record<string, unknown>>> => {
    const { prompt } = JSON.parse((await ledger.tasks.body(task)) ?? '{}') as { prompt: ReturnType<typeof graph> }
    return Object.fromEntries(Object.entries(prompt).map(([id, { inputs }]) => [id, inputs]))
  }
  return { ledger, send, ask, generate, literals }
}

t.test('a template is stored, answered to the last digit, listed, used and deleted', async t => {
  const { send, ask, generate, literals, ledger } = await open(t)
  const body = JSON.stringify(template).replace('"seed":7', '"seed":18446744073709551615')
  const stored = await send('PUT', '/templates/product', body)
  t.equal(stored.status, 200)
  t.match(stored.text, '"seed":18446744073709551615')
  const read = await send('GET', '/templates/product')
  t.equal(read.text, stored.text)
  t.match(read.headers.get('content-type'), /^application\/json/)
  t.match(JSON.parse(read.text) as Template, {
    name: 'product',
    shared: false,
    updatedAt: /Z$/,
    description: 'A product'
  })

  const task = await generate({ template: 'product', params: { product: 'green bottle', style: 'premium' } })
  t.match(task, { state: 'queued', template: 'product', seed: /^[0-9]+$/ })
  const text = await ledger.tasks.body(task.id)
  t.match(text, `"seed":${task.seed},`)
  t.match(
    JSON.parse(text!),
    { template: 'product', params: { product: 'green bottle' } },
    'what was asked stays with it'
  )
  t.match(await literals(task.id), {
    3: { positive: 'photo of green bottle, luxurious', cfg: 7 },
    5: { image: 'here.png' }
  })
  const other = await generate({ template: 'product', params: { product: 'cup' } })
  t.not(other.seed, task.seed)
  t.match((await literals(other.id))[3], { positive: 'photo of cup, simple' })

  t.same(
    (await send('PUT', '/templates/product', { ...template, prompt: graph('{{product}} {{style}} !') })).status,
    200
  )
  t.match(
    (await literals(task.id))[3],
    { positive: 'photo of green bottle, luxurious' },
    'accepted tasks keep what they had'
  )
  const third = await generate({ template: 'product', params: { product: 'cup', seed: '18446744073709551615' } })
  t.match((await literals(third.id))[3], { positive: 'cup simple !' })
  t.match(await ledger.tasks.body(third.id), '"seed":18446744073709551615,"cfg"')
  t.equal(third.seed, '18446744073709551615')
  const digits = '{"template":"product","params":{"product":"cup","seed":18446744073709551614,"cfg":1.50}}'
  t.match(await ledger.tasks.body((await generate(digits)).id), '"seed":18446744073709551614,"cfg":1.50')

  await generate({ prompt: graph('plain') })
  const listed = await ask<TaskList>('GET', '/tasks?template=product')
  t.equal(listed.data.length, 4)
  t.equal((await send('DELETE', '/templates/product')).status, 204)
  t.equal((await send('DELETE', '/templates/product')).status, 404)
  t.equal((await send('GET', '/templates/product')).status, 404)
  t.match(await generate<Problem>({ template: 'product' }), {
    status: 400,
    errors: [{ pointer: '/template', code: 'unknown-template' }]
  })
})

t.test('a wrong param is a 400 that points at it', async t => {
  const { send, generate, ledger } = await open(t)
  await send('PUT', '/templates/p', template)
  const right = { product: 'cup' }
  for (const [params, pointers] of [
    [{}, ['/params/product']],
    [{ product: '' }, ['/params/product']],
    [{ product: 'CUP' }, ['/params/product']],
    [{ product: 7 }, ['/params/product']],
    [{ ...right, styl: 'x' }, ['/params/styl']],
    [{ ...right, style: 'odd' }, ['/params/style']],
    [{ ...right, seed: 4 }, ['/params/seed']],
    [{ ...right, seed: 1.5 }, ['/params/seed']],
    [{ ...right, seed: 'x' }, ['/params/seed']],
    [{ ...right, cfg: 0 }, ['/params/cfg']],
    [{ ...right, face: null }, ['/params/face']],
    [{ ...right, lora: ['a'] }, ['/params/lora']]
  ] as [Record<string, unknown>, string[]][]) {
    const answer = await generate<Problem>({ template: 'p', params })
    t.same(
      [answer.code, [...new Set(answer.errors?.map(({ pointer }) => pointer))]],
      ['validation-failed', pointers],
      JSON.stringify(params)
    )
  }
  const refused = (body: object) => generate<Problem>({ template: 'p', ...body })
  t.match(await refused({ params: { ...right, lora: 'c.safetensors' } }), {
    code: 'no-capable-node',
    detail: /^\/params\/lora: no node has c\.safetensors/,
    errors: [{ pointer: '/params/lora' }]
  })
  const hostile = await refused({ params: { ...right, face: 'http://169.254.169.254/latest' } })
  t.match(hostile, { code: 'input-url-blocked', errors: [{ pointer: '/params/face' }] })
  const references = (...list: object[]) => refused({ params: right, references: list })
  t.match(await references({ name: 'face', image: 'here.png', strength: 2 }), {
    errors: [{ pointer: '/references/0/strength' }]
  })
  t.match(await references({ name: 'fac', image: 'here.png' }), { errors: [{ pointer: '/references/0/image' }] })
  t.match(await references({ name: 'face', image: 'gone.png' }), {
    code: 'no-capable-node',
    errors: [{ pointer: '/references/0/image' }]
  })
  const face = { name: 'face', image: 'here.png' }
  t.match(await references(face, face), { errors: [{ pointer: '/references/1', code: 'twice' }] })
  t.match(await refused({ params: right, prompt: graph() }), { errors: [{ pointer: '/prompt', code: 'either-or' }] })
  t.match(await generate<Problem>({ prompt: graph(), params: {} }), {
    errors: [{ pointer: '/params', code: 'either-or' }]
  })
  t.match(await generate<Problem>({ prompt: graph(), references: [] }), { errors: [{ pointer: '/references' }] })
  t.match(await generate<Problem>({ template: 'p', requests: [{ params: right }, { params: { product: 1 } }] }), {
    errors: [{ pointer: '/requests/1/params/product' }]
  })
  t.same((await ledger.waiting.backlog()).queuedByTenant, {})
})

t.test('shots: a template with params, references and metadata each; seeds count up from a named one', async t => {
  const { send, generate, literals } = await open(t)
  await send('PUT', '/templates/shot', { ...template, output_config: { quantity: 2, format: 'jpg' } })
  const references = [{ name: 'face', image: 'here.png', strength: 0.75 }]
  const group = await generate<Group>({
    template: 'shot',
    requests: [
      { params: { product: 'one', seed: 18446744073709551000n.toString() }, metadata: { shotId: 1 }, references },
      { params: { product: 'two' }, count: 1, metadata: { shotId: 2 } }
    ]
  })
  t.equal(group.total, 3)
  t.same(
    group.tasks.map(({ metadata }) => metadata.shotId),
    [1, 1, 2]
  )
  t.same(
    group.tasks.slice(0, 2).map(({ seed }) => seed),
    ['18446744073709551000', '18446744073709551001']
  )
  t.match((await literals(group.tasks[0]!.id))[5], { image: 'here.png', strength: 0.75 })
  t.match((await literals(group.tasks[2]!.id))[5], { strength: 0.5 })
  t.match(
    await generate<Group>({ template: 'shot', params: { product: 'x' } }),
    { total: 2 },
    'quantity is the count of those that name none'
  )
  const tooFar = await generate<Problem>({
    template: 'shot',
    params: { product: 'x', seed: '18446744073709551615' },
    count: 3
  })
  t.match(tooFar, { status: 400, errors: [{ pointer: '/params/seed', code: 'maximum' }] })
})

const upload = `input_${'a'.repeat(64)}`
const anUpload = { sha256: 'a'.repeat(64), path: 'p', bytes: 1, mediaType: 'image/png' }

t.test('a reference may name an upload by its id', async t => {
  const { ledger, send, generate } = await open(t)
  await send('PUT', '/templates/p', template)
  await ledger.inputs.add('default', anUpload, 60_000)
  const shot = (image: string) => ({ params: { product: 'cup' }, references: [{ name: 'face', image, strength: 0.5 }] })
  const task = await generate({ template: 'p', ...shot(upload) })
  const { prompt, inputs } = JSON.parse((await ledger.tasks.body(task.id)) ?? '{}')
  t.same(inputs, { [prompt[5].inputs.image]: { upload } })
  t.equal(prompt[5].inputs.strength, 0.5)
  const unknown = upload.replaceAll('a', 'b')
  const refused = await generate<Problem>({ template: 'p', requests: [shot('here.png'), shot(unknown)] })
  t.match(refused, { code: 'input-invalid', errors: [{ pointer: '/requests/1/references/0/image' }] })
  t.match(refused.detail, unknown)
})

t.test('a LoRA with a source comes along where its template uses it, unless the request brings another', async t => {
  const { ledger, send, generate } = await open(t)
  await ledger.nodes.register(aNode({ catalog, labels: { 'comfy-balancer/loras': 'on-demand' }, files: ['here.png'] }))
  await ledger.inputs.add('default', anUpload, 60_000)
  const brand = { name: 'brand.safetensors', source: upload }
  const loras = { house: { name: 'a.safetensors' }, brand, secret: { name: 's.safetensors', source: 's3://other/x' } }
  const { bindings, input_schema } = template
  const put = (more: object) =>
    send('PUT', '/templates/p', {
      ...{ ...template, loras, bindings: { ...bindings, lora: { to: '4.inputs.lora_name', map: 'loras' } } },
      input_schema: { ...input_schema, properties: { ...input_schema.properties, lora: { type: 'string' } } },
      ...more
    })
  t.equal((await put({})).status, 200)
  const made = async (lora: string, more: object = {}) => {
    const { id } = await generate({ template: 'p', params: { product: 'cup', lora }, ...more })
    const { prompt, loras } = JSON.parse((await ledger.tasks.body(id)) ?? '{}')
    return { name: prompt[4].inputs.lora_name, loras }
  }
  t.same(await made('house'), { name: 'a.safetensors', loras: undefined }, 'that one is on the nodes')
  t.same(await made('brand'), { name: 'brand.safetensors', loras: [brand] })
  const own = { name: 'brand.safetensors', source: 'store:mine/brand.safetensors', sha256: '0'.repeat(64) }
  t.same(await made('brand', { loras: [own] }), { name: 'brand.safetensors', loras: [own] })
  const refused = await generate<Problem>({ template: 'p', params: { product: 'cup', lora: 'secret' } })
  t.match(refused, { code: 'input-invalid', detail: /^\/template: .*S3/, errors: [{ pointer: '/template' }] })
  for (const [lora, pointer] of [
    [{ name: 'x.safetensors', source: 'https://a.example/x' }, '/loras/x/source'],
    [{ name: '../brand.safetensors', source: upload }, '/loras/x/name'],
    [{ name: 'brand.ckpt', source: upload }, '/loras/x/name'],
    [{ name: 'brand.safetensors', source: 'store:another' }, '/loras/x/name']
  ] as const) {
    const answer = await put({ loras: { ...loras, x: lora } })
    t.match([answer.status, JSON.parse(answer.text)], [400, { errors: [{ pointer }] }], JSON.stringify(lora))
  }
})

t.test('a class that operators deny is refused, wherever it stands', async t => {
  const { send, generate } = await open(t, {}, { DENIED_CLASSES: ' LoraLoader , Evil' })
  t.equal((await send('PUT', '/templates/p', template)).status, 200)
  const problem = { status: 422, code: 'workflow-class-not-allowed', errors: [{ pointer: '/prompt/4/class_type' }] }
  t.match(await generate<Problem>({ template: 'p', params: { product: 'cup' } }), problem)
  t.match(await generate<Problem>({ prompt: graph() }), problem)
})

t.test('a preview is the workflow that would run, and nothing is queued', async t => {
  const { send, ask, ledger } = await open(t, { 'shared.json': template })
  const preview = await ask<Preview>('POST', '/templates/shared/preview', { params: { product: 'cup', seed: 12 } })
  t.match(preview, {
    template: 'shared',
    seed: '12',
    count: 1,
    prompt: { 3: { inputs: { positive: 'photo of cup, simple', seed: 12 } } }
  })
  t.match(await ask('POST', '/templates/shared/preview', {}), { status: 400, errors: [{ pointer: '/params/product' }] })
  t.equal((await send('POST', '/templates/none/preview', {})).status, 404)
  t.same((await ledger.waiting.backlog()).queuedByTenant, {})
})

t.test('what cannot work is refused when it is stored, with every place', async t => {
  const { send, ask } = await open(t, {}, { MAX_TEMPLATES: '1' })
  const put = (more: object) => ask<Problem>('PUT', '/templates/t', { ...template, ...more })
  const schema = (param: object, rest: object = {}) => ({
    input_schema: { ...template.input_schema, ...rest, properties: { ...template.input_schema.properties, cfg: param } }
  })
  const cases: [what: string, more: object, pointer: string, code?: string][] = [
    ['no schema', { input_schema: undefined }, '/input_schema', 'required'],
    ['$ref', schema({ $ref: 'https://evil.example/x' }), '/input_schema/properties/cfg/$ref', 'additionalProperties'],
    ['nesting', schema({ type: 'object' }), '/input_schema/properties/cfg/type'],
    [
      'more params allowed',
      { input_schema: { properties: {}, additionalProperties: true } },
      '/input_schema/additionalProperties'
    ],
    ['name', { input_schema: { properties: { 'a b': { type: 'string' } } } }, '/input_schema/properties/a b'],
    [
      'default out of range',
      schema({ type: 'number', maximum: 3, default: 4 }),
      '/input_schema/properties/cfg/default',
      'maximum'
    ],
    [
      'default of another type',
      schema({ type: 'number', default: 'x' }),
      '/input_schema/properties/cfg/default',
      'type'
    ],
    ['enum of another type', schema({ type: 'number', enum: [1, 'x'] }), '/input_schema/properties/cfg/enum/1', 'type'],
    ['words that do not go together', schema({ type: 'number', minLength: 3 }), '/input_schema', 'schema'],
    ['broken pattern', schema({ type: 'string', pattern: '(' }), '/input_schema/properties/cfg/pattern', 'pattern'],
    ['lookahead', schema({ type: 'string', pattern: '(?=a)a' }), '/input_schema/properties/cfg/pattern', 'pattern'],
    ['backreference', schema({ type: 'string', pattern: '(a)\\1' }), '/input_schema/properties/cfg/pattern', 'pattern'],
    ['target', { bindings: { ...template.bindings, cfg: '3.inputs.steps' } }, '/bindings/cfg', 'target'],
    ['type', { bindings: { ...template.bindings, cfg: '9.inputs.filename_prefix' } }, '/bindings/cfg', 'type'],
    ['gif', { output_config: { format: 'gif' } }, '/output_config/format', 'enum'],
    ['unknown field', { colour: 1 }, '/colour', 'additionalProperties']
  ]
  for (const [what, more, pointer, code] of cases) {
    const answer = await put(more)
    t.equal(answer.status, 400, what)
    const isThere = answer.errors?.some(
      place => place.pointer === pointer && (code === undefined || place.code === code)
    )
    t.ok(isThere, `${what}: ${JSON.stringify(answer.errors)}`)
  }
  t.match(await put({ prompt: { 3: { class_type: 'KSampler', inputs: { seed: ['8', 0] } } } }), {
    status: 422,
    code: 'workflow-invalid',
    errors: [{ pointer: '/prompt/3/inputs/seed', code: 'dangling-link' }]
  })
  t.equal((await send('PUT', '/templates/bad%20name', template)).status, 400)
  t.equal((await send('PUT', '/templates/large', { ...template, description: 'x'.repeat(1_100_000) })).status, 413)
  t.equal((await send('GET', '/templates/t')).status, 404)
  t.equal((await send('PUT', '/templates/first', template)).status, 200)
  t.equal((await send('PUT', '/templates/first', template)).status, 200, 'replacing one is not one more')
  t.match(await ask('PUT', '/templates/second', template), { status: 429, code: 'quota-exceeded' })
})

t.test('a pattern cannot hang the service', async t => {
  const { send, generate } = await open(t)
  const { properties } = template.input_schema
  const bomb = {
    ...template,
    input_schema: {
      ...template.input_schema,
      properties: { ...properties, product: { type: 'string', pattern: '^(a+)+$' } }
    }
  }
  t.equal((await send('PUT', '/templates/bomb', bomb)).status, 200)
  t.match(await generate<Problem>({ template: 'bomb', params: { product: `${'a'.repeat(50_000)}!` } }), {
    errors: [{ pointer: '/params/product' }]
  })
  t.match(await generate({ template: 'bomb', params: { product: 'aaa' } }), { state: 'queued' })
})

t.test('shared templates come from a folder; an own one of the same name hides it', async t => {
  const files = {
    'persona-1.json': template,
    'persona-2.json': { ...template, description: 'Shared' },
    'notes.txt': 'x'
  }
  const { send, ask } = await open(t, files)
  t.match(await ask('GET', '/templates/persona-2'), { shared: true, updatedAt: null, description: 'Shared' })
  await send('PUT', '/templates/persona-2', { ...template, description: 'Own' })
  await send('PUT', '/templates/extra', template)
  const page = await ask<TemplateList>('GET', '/templates?limit=2')
  t.match(page.data, [
    { name: 'extra', shared: false },
    { name: 'persona-1', shared: true }
  ])
  t.notOk(page.data.some(one => 'prompt' in one))
  const rest = await ask<TemplateList>('GET', `/templates?limit=2&cursor=${page.nextCursor}`)
  t.match(rest, { data: [{ name: 'persona-2', shared: false, description: 'Own' }], nextCursor: null })
  t.equal((await send('GET', '/templates?cursor=bogus')).status, 400)
  t.equal((await send('DELETE', '/templates/persona-2')).status, 204)
  t.match(await ask('GET', '/templates/persona-2'), { shared: true, description: 'Shared' })
  t.match(await ask('DELETE', '/templates/persona-2'), { status: 404, detail: /shared/ })
})

t.test('a service does not start on a broken shared template, and says which', async t => {
  for (const [file, content, words] of [
    ['broken.json', '{"prompt":', /broken\.json.*not JSON/],
    ['twice.json', '{"prompt":{},"prompt":{}}', /twice\.json.*stands twice/],
    ['shape.json', { ...template, bindings: 3 }, /shape\.json.*\/bindings must be object/],
    [
      'loose.json',
      { ...template, bindings: { ...template.bindings, cfg: '70.inputs.x' } },
      /loose\.json.*no graph node 70/
    ],
    ['bad name.json', template, /bad name\.json.*its name/]
  ] as [string, unknown, RegExp][]) {
    await t.rejects(open(t, { [file]: content }), words, file)
  }
})

t.test('a retried request is answered again, though its template is gone by now', async t => {
  const { send, ledger } = await open(t)
  await send('PUT', '/templates/brief', template)
  const post = () =>
    send('POST', '/generate', { template: 'brief', params: { product: 'cup' } }, { 'idempotency-key': 'k' })
  const first = JSON.parse((await post()).text) as Task
  await send('DELETE', '/templates/brief')
  const again = await post()
  t.equal(again.headers.get('idempotency-replayed'), 'true')
  t.match(JSON.parse(again.text), { id: first.id, seed: first.seed })
  t.equal((await ledger.waiting.backlog()).queuedByTenant.default, 1)
  const other = await send('POST', '/generate', { template: 'brief' }, { 'idempotency-key': 'k' })
  t.equal(other.status, 400)
})
