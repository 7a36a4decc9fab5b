import t from 'tap'
import { parsePythonJson, stringifyPythonJson } from '../src/json/python-json.ts'
import { aSimulator, call, finished, listener, slow, submit, trivial, until } from './client.ts'

const tell = (type: string, data: Record<string, unknown>) => {
  if (type === 'progress_state') {
    const nodes = data.nodes as Record<string, { state: string }>
    return `state ${Object.entries(nodes).map(([id, { state }]) => `${id}:${state}`)}`
  }
  return type === 'executing' || type === 'executed' ? `${type} ${data.node}` : type
}

t.test('JSON keeps the spelling Python would give it', async t => {
  const texts = ['{"a": 9.0, "b": 9, "c": [NaN, -Infinity]}', '"h\\u00e9 \\u2603"', '18446744073709551615', '1e-07']
  for (const text of texts) t.equal(stringifyPythonJson(parsePythonJson(text)), text)
  const isRefused = (text: string) => {
    try {
      parsePythonJson(text)
      return false
    } catch (error) {
      return error instanceof SyntaxError
    }
  }
  for (const text of ['{not json', '', '[1,]', '01', '"a\nb"', '{"a" 1}']) t.ok(isRefused(text), text)
})

t.test('a successful prompt sends its messages in the recorded order', async t => {
  const simulator = await aSimulator(t)
  const [a, b] = [await listener(t, simulator, 'a'), await listener(t, simulator, 'b')]
  const id = await submit(simulator, trivial(), { client_id: 'a' })
  await until(() => a.messages.some(({ type, data }) => type === 'executing' && data.node === null))
  t.same(
    a.messages.slice(1).map(({ type, data }) => tell(type, data)),
    [
      'status',
      'status',
      'execution_start',
      'execution_cached',
      'state 1:running',
      'executing 1',
      'state 1:finished',
      'state 1:finished,2:running',
      'executing 2',
      'state 1:finished,2:finished',
      'state 1:finished,2:finished,3:running',
      'executing 3',
      'executed 3',
      'state 1:finished,2:finished,3:finished',
      'execution_success',
      'status',
      'executing null'
    ]
  )
  t.same([...new Set(b.types())], ['status'], 'the bystander sees only the queue')
  const entry = await finished(simulator, id)
  t.equal(entry.status.status_str, 'success')
  t.same(entry.outputs, { 3: { images: [{ filename: 'test_00001_.png', subfolder: '', type: 'output' }] } })
  t.same(entry.meta['3'], { node_id: '3', display_node: '3', parent_node: null, real_node_id: '3' })
})

t.test('the cache keeps the latest prompt and nothing older', async t => {
  const simulator = await aSimulator(t)
  const a = await listener(t, simulator, 'a')
  const cachedBy = async (prompt: unknown) => {
    const entry = await finished(simulator, await submit(simulator, prompt, { client_id: 'a' }))
    return entry.status.messages[1][1].nodes
  }
  t.same(await cachedBy(trivial('x')), [])
  t.same(await cachedBy(trivial('x')), ['1', '2', '3'])
  t.same(await cachedBy(trivial('y')), ['1', '2'])
  t.same(await cachedBy(trivial('x', 7)), [])
  t.same(await cachedBy(trivial('x')), [], 'the older prompt is forgotten')
  await call(simulator, 'POST', '/free', { free_memory: true })
  await until(async () => (await cachedBy(trivial('x', 9))).length === 0)
  t.ok(a.messages.length > 0)
})

t.test('a failing node ends the prompt with its exception and keeps earlier outputs', async t => {
  const simulator = await aSimulator(t)
  const prompt = {
    ...trivial('partial'),
    8: { class_type: 'TestAsyncError', inputs: { value: ['1', 0], error_after: 5 } },
    9: { class_type: 'SaveImage', inputs: { images: ['8', 0], filename_prefix: 'never' } }
  }
  const entry = await finished(simulator, await submit(simulator, prompt, { client_id: 'a' }))
  const [event, data] = entry.status.messages.at(-1)
  t.equal(event, 'execution_error')
  t.equal(data.node_id, '8')
  t.equal(data.exception_type, 'RuntimeError')
  t.equal(data.exception_message, 'Intentional async execution error for testing\n')
  t.same(Object.keys(entry.outputs), ['3'])
  const outside = {
    ...trivial(),
    3: { class_type: 'SaveImage', inputs: { images: ['2', 0], filename_prefix: '../../evil' } }
  }
  const refused = await finished(simulator, await submit(simulator, outside))
  t.match(refused.status.messages.at(-1)[1].exception_message, /outside the output folder/)
})

t.test('an interrupt ends a reporting node at once and a silent one at the next node', async t => {
  const simulator = await aSimulator(t, { timeScale: 1 })
  const a = await listener(t, simulator, 'a')
  const first = await submit(simulator, slow(30), { client_id: 'a' })
  await until(() => a.types().includes('progress'))
  t.equal((await call(simulator, 'POST', '/interrupt', { prompt_id: 'other' })).status, 200)
  t.equal((await call(simulator, 'GET', '/queue')).body.queue_running.length, 1)
  await call(simulator, 'POST', '/interrupt', { prompt_id: first })
  const entry = await finished(simulator, first)
  t.equal(entry.status.messages.at(-1)[0], 'execution_interrupted')
  t.equal(entry.status.messages.at(-1)[1].node_id, '2')
  const second = await submit(simulator, slow(0.4, 'TestAsyncTimeout', 2), { client_id: 'a' })
  await until(() => a.messages.some(({ data }) => data.prompt_id === second && data.node === '2'))
  await call(simulator, 'POST', '/interrupt', '{not json')
  t.equal((await finished(simulator, second)).status.messages.at(-1)[1].node_id, '3')
})

t.test('pending prompts run by number and id, can be deleted and cleared', async t => {
  const simulator = await aSimulator(t, { timeScale: 1 })
  const running = await submit(simulator, slow(0.6), { client_id: 'a' })
  const late = await submit(simulator, trivial('q', 1), { number: 9 })
  const front = await submit(simulator, trivial('q', 2), { front: true })
  const gone = await submit(simulator, trivial('q', 3))
  const queue = (await call(simulator, 'GET', '/queue')).body
  t.equal(queue.queue_pending.length + queue.queue_running.length, 4)
  t.match((await call(simulator, 'GET', '/queue')).text, /\[9\.0, /, 'a number that was given comes back as a float')
  t.equal((await call(simulator, 'POST', '/queue', { delete: [gone, 'unknown'] })).status, 200)
  await finished(simulator, late)
  t.same(Object.keys((await call(simulator, 'GET', '/history')).body), [running, front, late])
  t.same((await call(simulator, 'GET', `/history/${gone}`)).body, {})
  t.same(Object.keys((await call(simulator, 'GET', '/history?max_items=1')).body), [late])
  t.same(Object.keys((await call(simulator, 'GET', '/history?max_items=1&offset=0')).body), [running])
  t.equal((await call(simulator, 'GET', '/history?max_items=x')).status, 500)
  await submit(simulator, slow(5, 'TestSleep', 77))
  await submit(simulator, trivial('q', 4))
  await call(simulator, 'POST', '/queue', { clear: true })
  await call(simulator, 'POST', '/interrupt')
  await until(async () => (await call(simulator, 'GET', '/prompt')).body.exec_info.queue_remaining === 0)
})

t.test('validation refuses graphs in ComfyUI’s words', async t => {
  const simulator = await aSimulator(t)
  const errorOf = async (body: unknown) => {
    const answer = await call(simulator, 'POST', '/prompt', body)
    const reasons = Object.values(answer.body?.node_errors ?? {}) as { errors: { type: string }[] }[]
    return [answer.status, answer.body?.error?.type, ...reasons.flatMap(({ errors }) => errors.map(({ type }) => type))]
  }
  const image = (inputs: object) => ({
    prompt: {
      1: { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 5, ...inputs } },
      2: { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'x' } }
    }
  })
  const saving = (images: unknown) => ({
    prompt: {
      1: { class_type: 'SolidMask', inputs: { value: 1, width: 8, height: 8 } },
      2: { class_type: 'SaveImage', inputs: { images, filename_prefix: 'x' } }
    }
  })
  const failed = 'prompt_outputs_failed_validation'
  t.same(await errorOf({}), [400, 'no_prompt'])
  t.same(await errorOf([]), [400, 'no_prompt'])
  t.same(await errorOf({ prompt: { 1: { class_type: 'Nope', inputs: {} } } }), [400, 'invalid_prompt'])
  t.same(await errorOf({ prompt: {} }), [400, 'prompt_no_outputs'])
  t.same(await errorOf(image({ width: 0 })), [400, failed, 'value_smaller_than_min'])
  t.same(await errorOf(image({ width: 99_999 })), [400, failed, 'value_bigger_than_max'])
  t.same(await errorOf(image({ width: 'abc' })), [400, failed, 'invalid_input_type'])
  t.same(await errorOf(saving(['1', 0])), [400, failed, 'return_type_mismatch'])
  t.same(await errorOf(saving(['1'])), [400, failed, 'bad_linked_input'])
  t.same(await errorOf(saving(['9', 0])), [400, failed, 'exception_during_validation'])
  t.same(await errorOf({ prompt: { 1: { class_type: 'SaveImage', inputs: {} } } }), [
    400,
    failed,
    'required_input_missing',
    'required_input_missing'
  ])
  t.same(
    await errorOf({
      prompt: {
        1: { class_type: 'ImageInvert', inputs: { image: ['1', 0] } },
        2: { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'x' } }
      }
    }),
    [400, failed]
  )
  for (const body of [
    '{not json',
    '',
    'null',
    '{"prompt": null}',
    '{"prompt": {"1": null}}',
    '{"prompt": {}, "number": "x"}'
  ]) {
    t.equal((await errorOf(body))[0], 500, body)
  }
  const listed = await call(simulator, 'POST', '/prompt', {
    prompt: {
      1: { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'no.safetensors' } },
      2: { class_type: 'PreviewAny', inputs: { source: ['1', 0] } }
    }
  })
  t.match(listed.body.node_errors['1'].errors[0].details, /^ckpt_name: 'no.safetensors' not in \['dreamshaper_8/)
  const cast = await finished(simulator, await submit(simulator, image({ width: '64', height: 64.7 }).prompt))
  t.match(cast.prompt[2]['1'].inputs, { width: 64, height: 64 })
})

t.test('lists call a node per item and batches make one message', async t => {
  const simulator = await aSimulator(t)
  const entry = await finished(
    simulator,
    await submit(simulator, {
      1: { class_type: 'EmptyImage', inputs: { width: 16, height: 16, batch_size: 4, color: 3 } },
      2: { class_type: 'RebatchImages', inputs: { images: ['1', 0], batch_size: 2 } },
      3: { class_type: 'SaveImage', inputs: { images: ['2', 0], filename_prefix: 'sub/%width%x%height%' } }
    })
  )
  t.same(
    entry.outputs['3'].images.map(
      ({ filename, subfolder }: { filename: string; subfolder: string }) => `${subfolder}/${filename}`
    ),
    ['sub/16x16_00001_.png', 'sub/16x16_00002_.png', 'sub/16x16_00003_.png', 'sub/16x16_00004_.png']
  )
})

t.test('poisonous prompts do what they do to ComfyUI', async t => {
  const dead = await aSimulator(t)
  await submit(dead, { ...trivial(), 9: { class_type: 'EmptyImage' } })
  await until(() => !dead.state().isWorkerAlive)
  await submit(dead, trivial('good', 3))
  t.equal((await call(dead, 'GET', '/prompt')).body.exec_info.queue_remaining, 2, 'HTTP goes on, nothing runs')

  const twins = await aSimulator(t, { timeScale: 1 })
  await submit(twins, slow(0.3))
  const twin = (color: number) =>
    call(twins, 'POST', '/prompt', { prompt: trivial('twin', color), prompt_id: 'same', number: 5 })
  t.same([(await twin(1)).status, (await twin(2)).status], [200, 500])
  await until(() => twins.state().counters.promptsExecuted === 3)

  const exits = await aSimulator(t)
  await call(exits, 'POST', '/prompt', { prompt: trivial(), client_id: ['x'] })
  await until(
    async () =>
      await call(exits, 'GET', '/queue').then(
        () => false,
        () => true
      )
  )
})

t.test('sockets: the last one of an id wins and goes deaf when the older one closes', async t => {
  const simulator = await aSimulator(t)
  const old = await listener(t, simulator, 'a')
  const young = await listener(t, simulator, 'a')
  await finished(simulator, await submit(simulator, trivial('s', 1), { client_id: 'a' }))
  await until(() => young.types().includes('execution_success'))
  t.same(old.types(), ['status'])
  old.socket.close()
  await until(() => simulator.state().sockets === 0)
  const before = young.messages.length
  await finished(simulator, await submit(simulator, trivial('s', 2), { client_id: 'a' }))
  t.equal(young.messages.length, before)
})

t.test('flags choose between previews with and without metadata', async t => {
  const simulator = await aSimulator(t)
  const [plain, flagged] = [await listener(t, simulator, 'plain'), await listener(t, simulator, 'flagged')]
  flagged.socket.send(JSON.stringify({ type: 'feature_flags', data: { supports_preview_metadata: true } }))
  await until(() => flagged.types().includes('feature_flags'))
  const prompt = {
    1: { class_type: 'EmptyImage', inputs: { width: 32, height: 16, batch_size: 2, color: 3 } },
    2: { class_type: 'SaveImageWebsocket', inputs: { images: ['1', 0] } }
  }
  const entry = await finished(simulator, await submit(simulator, prompt, { client_id: 'flagged' }))
  t.same(entry.outputs, {})
  await finished(simulator, await submit(simulator, prompt, { client_id: 'plain' }))
  await until(() => plain.types().includes('execution_success'))
  t.equal(flagged.types().filter(type => type === 'binary 4').length, 2)
  t.equal(plain.types().filter(type => type === 'binary 1').length, 2)
  const frame = flagged.messages.find(({ type }) => type === 'binary 4')?.bytes as Buffer
  const metadata = JSON.parse(frame.toString('utf8', 8, 8 + frame.readUInt32BE(4)))
  t.match(metadata, { node_id: '2', image_type: 'image/png', parent_node_id: null })
})

t.test('routes answer like aiohttp', async t => {
  const simulator = await aSimulator(t)
  const seen = async (method: string, path: string) => {
    const { status, headers, text } = await call(simulator, method, path)
    return [status, headers.get('content-type'), headers.get('allow'), text]
  }
  t.same(await seen('GET', '/nope'), [404, 'application/octet-stream', null, ''])
  t.same(await seen('POST', '/nope'), [405, 'text/plain; charset=utf-8', 'GET,HEAD', '405: Method Not Allowed'])
  t.same(await seen('PUT', '/prompt'), [405, 'text/plain; charset=utf-8', 'GET,HEAD,POST', '405: Method Not Allowed'])
  t.same(await seen('GET', '/interrupt'), [404, 'application/octet-stream', null, ''])
  t.same(await seen('OPTIONS', '/nope'), [200, null, null, ''])
  t.same(await seen('GET', '/models/nope'), [404, null, null, ''])
  t.equal((await seen('GET', '/api/internal/logs'))[0], 404)
  t.equal((await seen('GET', '/api/jobs'))[0], 404)
  t.match((await call(simulator, 'GET', '/internal/logs/raw')).body.entries.at(-1).m, /To see the GUI/)
  t.equal((await fetch(`${simulator.url}/prompt`, { headers: { origin: 'http://evil.example' } })).status, 403)
  t.match((await call(simulator, 'GET', '/api/system_stats')).body.devices[0], {
    name: /^cuda:0 NVIDIA/,
    vram_total: 24e9
  })
  const models = (await call(simulator, 'GET', '/experiment/models/checkpoints')).body
  t.ok(
    models.some(
      ({ name, size }: { name: string; size: number }) => name === 'sd_xl_base_1.0.safetensors' && size === 6.94e9
    )
  )
  t.equal((await call(simulator, 'GET', '/object_info/KSampler')).body.KSampler.input.required.steps[1].max, 10_000)
})
