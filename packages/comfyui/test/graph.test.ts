import { kindOf, mediaTypeOf } from '@comfy-balancer/domain/media-type'
import t from 'tap'
import { catalogDigest, readCatalog } from '../src/catalog.ts'
import { isOutOfMemory, isPlacement, withoutHostPaths } from '../src/errors.ts'
import { literalAt, membersOf, withLiterals } from '../src/exact-text.ts'
import { type Edits, readRequest, submission } from '../src/graph.ts'
import { parseJson } from '../src/json.ts'
import { findOutputs } from '../src/outputs.ts'

const bodyOf = (prompt: unknown): string => JSON.stringify({ prompt })
const image = { class_type: 'EmptyImage', inputs: { width: 64 } }
const save = { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'cat' } }

const flawsOf = (text: string, limits = {}) => {
  const read = readRequest(text, limits)
  return 'flaws' in read ? read.flaws.map(({ pointer, code }) => [pointer, code]) : []
}

t.test('a well-formed graph is read with its links, literals and titles', async t => {
  const read = readRequest(
    '{"prompt": {"a:1": {"class_type": "X", "inputs": {"seed": 18446744073709551615, "list": {"__value__": ["b", 0]}, "pair": ["b", 1.0], "three": ["b", 0, 1]}, "_meta": {"title": "T"}}, "b": {"class_type": "Y", "inputs": {}}}}'
  )
  t.match(read, { workflow: {} })
  if (!('workflow' in read)) return
  t.same(read.workflow.graphNodes.get('a:1'), {
    id: 'a:1',
    classType: 'X',
    title: 'T',
    inputs: {
      seed: { kind: 'literal', value: 2 ** 64 },
      list: { kind: 'literal', value: { __value__: ['b', 0] } },
      pair: { kind: 'link', graphNode: 'b', slot: 1 },
      three: { kind: 'literal', value: ['b', 0, 1] }
    }
  })
})

t.test('what would kill or confuse ComfyUI is a flaw that names its place', async t => {
  const cases: [string, string[][]][] = [
    ['{"prompt": ', [['', 'malformed-json']]],
    ['{"prompt": {"1": {"class_type": "X", "inputs": {"a": NaN}}}}', [['', 'malformed-json']]],
    ['[]', [['/prompt', 'prompt-missing']]],
    ['{"prompt": null}', [['/prompt', 'prompt-missing']]],
    ['{"prompt": 1.0}', [['/prompt', 'prompt-missing']]],
    [bodyOf([]), [['/prompt', 'prompt-missing']]],
    [bodyOf({}), [['/prompt', 'prompt-empty']]],
    [bodyOf({ '': image }), [['/prompt/', 'id-empty']]],
    [
      bodyOf({ 1: null, 2: 7 }),
      [
        ['/prompt/1', 'not-an-object'],
        ['/prompt/2', 'not-an-object']
      ]
    ],
    [bodyOf({ 1: { inputs: {} } }), [['/prompt/1/class_type', 'class-type-missing']]],
    [bodyOf({ 1: { class_type: 5, inputs: {} } }), [['/prompt/1/class_type', 'class-type-missing']]],
    [bodyOf({ 1: image, 9: { class_type: 'X' } }), [['/prompt/9/inputs', 'inputs-missing']]],
    [bodyOf({ 'a/b~': { class_type: 'X', inputs: [] } }), [['/prompt/a~1b~0/inputs', 'inputs-missing']]],
    [bodyOf({ 3: save }), [['/prompt/3/inputs/images', 'dangling-link']]],
    ['{"prompt": {"1": {"class_type": "X", "inputs": {"a": 1, "a": 1}}}}', [['/prompt/1/inputs/a', 'duplicate-key']]],
    ['{"prompt": {}, "extra_data": [{}, {"a": "}\\"", "\\u0061": 2}]}', [['/extra_data/1/a', 'duplicate-key']]],
    ['{"prompt": {"__proto__": {"class_type": "X", "inputs": {}}}}', [['/prompt/__proto__', 'reserved-key']]],
    [`{"prompt": ${'['.repeat(100_000)}`, [[`/prompt${'/0'.repeat(63)}`, 'too-deep']]]
  ]
  for (const [text, flaws] of cases) t.same(flawsOf(text), flaws, text.slice(0, 80))
})

t.test('a circle is named, and neither long chains nor large graphs break the reader', async t => {
  const links = (...targets: string[]) => ({
    class_type: 'X',
    inputs: Object.fromEntries(targets.map(target => [`in${target}`, [target, 0]]))
  })
  const read = readRequest(bodyOf({ a: links('b'), b: links('d', 'c'), c: links('a'), d: links() }))
  t.match(read, {
    flaws: [{ pointer: '/prompt/a', code: 'cycle', detail: 'The graph goes in a circle: a → b → c → a' }]
  })
  t.same(flawsOf(bodyOf({ a: links('a') })), [['/prompt/a', 'cycle']])
  const ids = Array.from({ length: 5000 }, (_, index) => `n${index}`)
  const chain = Object.fromEntries(ids.map((id, index) => [id, index === 0 ? image : links(`n${index - 1}`)]))
  t.match(readRequest(bodyOf(chain)), { workflow: {} })
  t.same(flawsOf(bodyOf({ ...chain, more: image })), [['/prompt', 'too-many-graph-nodes']])
  t.equal(flawsOf(bodyOf(Object.fromEntries(ids.map(id => [id, null])))).length, 20)
})

const editsOf = (more: Partial<Edits>): Edits => ({
  promptId: 'p-1',
  clientId: 'c-1',
  prefix: 'comfy-balancer/t1-1',
  marks: new Map(),
  ...more
})

t.test('what is posted keeps the caller’s digits and only what ComfyUI may get', async t => {
  const body =
    '{"prompt": {"1": {"class_type": "X", "inputs": {"seed": 18446744073709551615, "cfg": 1.0, "tiny": 1e-7, "text": "\\u00e4\\n\\ud83d\\ude00"}}}, "client_id": "theirs", "front": true, "number": -1, "extra_data": {"api_key_comfy_org": "secret", "extra_pnginfo": {"workflow": {"id": 12345678901234567890}}}}'
  t.equal(
    submission(body, editsOf({})),
    '{"prompt":{"1":{"class_type":"X","inputs":{"seed":18446744073709551615,"cfg":1.0,"tiny":1e-7,"text":"ä\\n😀"}}},"client_id":"c-1","prompt_id":"p-1","extra_data":{"extra_pnginfo":{"workflow":{"id":12345678901234567890}}}}'
  )
  t.match(JSON.parse(submission('{"prompt": {"1": {}}, "extra_data": null}', editsOf({}))), { extra_data: {} })
})

t.test('outputs are made unique to the attempt, and texts are replaced', async t => {
  const prefixes: [string, string][] = [
    ['cat', 'cat'],
    ['video/ComfyUI', 'ComfyUI'],
    ['../../evil', 'evil'],
    ['..', 'ComfyUI'],
    ['a..b', 'a_b'],
    ['\u7f8e'.repeat(90), '\u7f8e'.repeat(66)],
    ['', 'ComfyUI'],
    ['C:\\temp\\x:y', 'x_y'],
    ['%year%-%width%', '%year%-%width%'],
    ['a/b/', 'b']
  ]
  for (const [theirs, last] of prefixes) {
    const body = bodyOf({ 1: image, 3: { ...save, inputs: { ...save.inputs, filename_prefix: theirs } } })
    const { prompt } = JSON.parse(submission(body, editsOf({ marks: new Map([['3', 'prefix']]) })))
    t.equal(prompt[3].inputs.filename_prefix, `comfy-balancer/t1-1/${last}`)
    t.same(prompt[1], image)
  }
  const linked = { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: ['1', 1] } }
  const preview = { class_type: 'PreviewImage', inputs: { images: ['1', 0] } }
  const marks = new Map<string, 'prefix' | 'mark'>([
    ['3', 'prefix'],
    ['4', 'mark']
  ])
  const values = new Map([
    [
      '1',
      new Map([
        ['width', 'not a text'],
        ['name', 'sub\\model.safetensors']
      ])
    ]
  ])
  const named = { ...image, inputs: { ...image.inputs, name: 'sub/model.safetensors' } }
  const { prompt } = JSON.parse(submission(bodyOf({ 1: named, 3: linked, 4: preview }), editsOf({ marks, values })))
  t.same(prompt[3].inputs, { ...linked.inputs, comfy_balancer: 'p-1' })
  t.same(prompt[4].inputs, { images: ['1', 0], comfy_balancer: 'p-1' })
  t.same(prompt[1].inputs, { width: 64, name: 'sub\\model.safetensors' })
})

t.test('NaN and Infinity from ComfyUI become null, but not inside texts', async t => {
  t.same(parseJson('{"a": NaN, "b": [-Infinity, Infinity, 1], "c": "NaN \\" Infinity", "NaN": "\\\\"}'), {
    a: null,
    b: [null, null, 1],
    c: 'NaN " Infinity',
    NaN: '\\'
  })
  t.rejects(async () => parseJson('{"a": nan}'))
  t.rejects(async () => parseJson('500 Internal Server Error'))
})

const objectInfo = {
  LoadImage: { input: { required: { image: [['a.png'], { image_upload: true }] } }, output_node: false },
  LoadVideo: { input: { required: { file: ['COMBO', { options: ['v.mp4'], video_upload: true }] } } },
  Loader: { input: { required: { ckpt_name: [['b.safetensors', 'a.safetensors'], {}] } } },
  Other: { input: { optional: { ckpt: ['COMBO', { options: ['b.safetensors', 'a.safetensors'] }] } } },
  SaveImage: { input: { required: { images: ['IMAGE', {}] }, hidden: { prompt: 'PROMPT' } }, output_node: true },
  Broken: null
}

t.test('a catalog has classes, choices stored once, uploads, and a digest that does not depend on order', async t => {
  const catalog = readCatalog(objectInfo, { 'a.safetensors': 7 })
  t.same(catalog, {
    classes: {
      LoadImage: { output: false, required: ['image'], choices: {}, uploads: ['image'] },
      LoadVideo: { output: false, required: ['file'], choices: {}, uploads: ['file'] },
      Loader: { output: false, required: ['ckpt_name'], choices: { ckpt_name: 0 }, uploads: [] },
      Other: { output: false, required: [], choices: { ckpt: 0 }, uploads: [] },
      SaveImage: { output: true, required: ['images'], choices: {}, uploads: [] }
    },
    lists: [['b.safetensors', 'a.safetensors']],
    modelBytes: { 'a.safetensors': 7 }
  })
  const { Loader, ...others } = objectInfo
  const same = readCatalog(
    {
      ...others,
      LoadImage: { ...objectInfo.LoadImage, input: { required: { image: [['z.png'], { image_upload: true }] } } },
      Loader
    },
    { 'a.safetensors': 7 }
  )
  t.equal(catalogDigest(same), catalogDigest(catalog))
  t.not(catalogDigest(readCatalog(others, { 'a.safetensors': 7 })), catalogDigest(catalog))
  t.same(readCatalog('nonsense', {}).classes, {})
})

t.test('outputs are found wherever an item has a file name, in the order of the workflow', async t => {
  const file = (filename: string, type = 'output', subfolder = '') => ({ filename, subfolder, type })
  const outputs = {
    '9:1': { images: [file('a.png'), file('b.webp', 'temp', 's')], animated: [true] },
    2: { gifs: [{ ...file('v.mp4'), format: 'video/h264', frame_rate: 8 }], text: ['hello', ['nested']] },
    3: { result: ['3d/m.glb [output]', { camera: { position: 1 } }, null], '3d': [file('n.glb')] },
    4: { audio: [file('x.flac')], latents: [file('l.latent')], images: [file('a.png'), { filename: 5 }] }
  }
  const bytes = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')
  const read = readRequest(bodyOf({ 2: image, '9:1': image, 5: image }))
  const workflow = 'workflow' in read ? read.workflow : undefined
  const found = findOutputs(outputs, [{ graphNode: '5', mediaType: 'image/png', bytes }], workflow)
  t.same(
    found.map(output => [output.graphNode, output.kind, output.source === 'text' ? output.text : output.filename]),
    [
      ['2', 'video', 'v.mp4'],
      ['2', 'text', 'hello'],
      ['2', 'text', 'nested'],
      ['5', 'image', '5_00001.png'],
      ['9:1', 'image', 'a.png'],
      ['9:1', 'image', 'b.webp'],
      ['3', '3d', 'm.glb'],
      ['3', '3d', 'n.glb'],
      ['4', 'audio', 'x.flac'],
      ['4', 'file', 'l.latent']
    ]
  )
  t.match(found[6], { subfolder: '3d', type: 'output' })
  t.match(found[5], { subfolder: 's', type: 'temp' })
})

t.test('a media type comes from the first bytes where they tell, else from the name', async t => {
  const head = (text: string) => Buffer.from(text.padEnd(64, '\0'), 'latin1')
  t.equal(mediaTypeOf('x.png', head('\x89PNG\r\n\x1a\n')), 'image/png')
  t.equal(mediaTypeOf('x.png', head('\xff\xd8\xff\xe0')), 'image/jpeg')
  t.equal(mediaTypeOf('x.webp', head('RIFF\0\0\0\0WEBP')), 'image/webp')
  t.equal(mediaTypeOf('x', head('\0\0\0\x20ftypisom')), 'video/mp4')
  t.equal(mediaTypeOf('x.mkv', head('\x1aE\xdf\xa3....matroska')), 'video/x-matroska')
  t.equal(mediaTypeOf('x.opus', head('OggS')), 'audio/ogg')
  t.equal(mediaTypeOf('x.glb'), 'model/gltf-binary')
  t.equal(mediaTypeOf('x.latent', head('?')), 'application/octet-stream')
  t.equal(kindOf('clip', 'gifs'), 'video')
  t.equal(kindOf('x.webm', 'images'), 'video')
})

t.test('an error is about the node only if all of it is', async t => {
  const nodeError = (...errors: object[]) => ({
    error: { type: 'prompt_outputs_failed_validation' },
    nodeErrors: { 1: { errors } }
  })
  const model = {
    type: 'value_not_in_list',
    extra_info: { input_name: 'ckpt_name', input_config: null, received_value: 'x' }
  }
  const choice = {
    type: 'value_not_in_list',
    extra_info: { input_name: 'method', input_config: [['area']], received_value: 'magic' }
  }
  const file = { type: 'custom_validation_failed', details: 'image - Invalid image file: nope.png' }
  const missing = { type: 'missing_node_type', extra_info: { node_id: '1', class_type: 'X' } }
  t.ok(isPlacement({ error: missing, nodeErrors: {} }))
  t.ok(isPlacement(nodeError(model, file)))
  t.equal(false, isPlacement({ error: { ...missing, extra_info: { class_type: null } }, nodeErrors: {} }))
  t.equal(
    false,
    isPlacement({
      error: { type: 'invalid_prompt', message: 'a node is missing the class_type property.' },
      nodeErrors: {}
    })
  )
  t.equal(false, isPlacement(nodeError(choice)))
  t.equal(false, isPlacement(nodeError(model, { type: 'value_smaller_than_min' })))
  t.equal(false, isPlacement({ error: { type: 'prompt_no_outputs' }, nodeErrors: {} }))
})

t.test('host paths are taken out of messages, and memory errors recognised', async t => {
  t.equal(withoutHostPaths("open('/srv/comfy/models/a b.ckpt') failed"), "open('…/a b.ckpt') failed")
  t.equal(withoutHostPaths('C:\\ComfyUI\\models\\x.pt: bad'), '…/x.pt: bad')
  t.equal(withoutHostPaths('see https://example.org/a/b and 3/4 and/or'), 'see https://example.org/a/b and 3/4 and/or')
  t.ok(isOutOfMemory('torch.cuda.OutOfMemoryError', ''))
  t.ok(isOutOfMemory('RuntimeError', 'CUDA error: out of memory'))
  t.equal(false, isOutOfMemory('RuntimeError', 'mat1 and mat2 shapes cannot be multiplied'))
})

t.test('parts of a request are taken out and literals replaced without losing a digit', async t => {
  const body = '{"requests":[{"a":18446744073709551615},{"b":1.0}],"prompt":{"3":{"inputs":{"seed":1,"cfg":7.0}}}}'
  const members = membersOf(body)
  t.same([...members.keys()], ['requests', 'prompt'])
  t.same(
    [...membersOf(members.get('requests')!)],
    [
      ['0', '{"a":18446744073709551615}'],
      ['1', '{"b":1.0}']
    ]
  )
  t.throws(() => membersOf('3'))
  const edited = withLiterals(body, [{ graphNode: '3', input: 'seed', json: '18446744073709551614' }])
  t.match(edited, '"inputs":{"seed":18446744073709551614,"cfg":7.0}')
  t.equal(literalAt(edited, '3', 'seed'), '18446744073709551614')
  for (const place of [
    { graphNode: '4', input: 'seed' },
    { graphNode: '3', input: 'steps' }
  ])
    t.throws(() => withLiterals(body, [{ ...place, json: '1' }]), /no input/)
})
