import t from 'tap'
import { createComfyUiHttp } from '../src/http.ts'
import { createFake, entryOf } from './fake.ts'

const setUp = async (t: Pick<import('tap').Test, 'teardown'>) => {
  const fake = await createFake()
  const http = createComfyUiHttp({ url: `${fake.url}/base/`, timeoutMs: 300, maxBytes: 10_000 })
  t.teardown(async () => {
    await http.close()
    await fake.close()
  })
  const answer = (text: string | Buffer, status = 200) => {
    fake.state.handle = (_, response) => {
      response.writeHead(status).end(text)
      return true
    }
  }
  return { fake, http, answer }
}

t.test('answers are checked when they arrive', async t => {
  const { http, answer, fake } = await setUp(t)
  answer(
    '{"queue_running": [], "queue_pending": [[50, "b", {}, {"client_id": "x"}, []], [20, "c"], [20, "a", {}, null]]}'
  )
  t.same(await http.queue(), {
    running: [],
    pending: [
      { number: 20, promptId: 'a', clientId: undefined },
      { number: 20, promptId: 'c', clientId: undefined },
      { number: 50, promptId: 'b', clientId: 'x' }
    ]
  })
  t.equal(fake.calls.at(-1)?.url, '/base/queue')
  answer(JSON.stringify({ p: entryOf('p', { 3: { images: [] }, 4: null }) }).replace('"prompt_id":"p"', '"n":NaN'))
  t.match(await http.history('p'), {
    number: 0,
    outputs: { 3: { images: [] } },
    statusText: 'success'
  })
  answer('{}')
  t.equal(await http.history('__proto__'), undefined)
  answer(
    '{"system": {"comfyui_version": "0.38.1"}, "devices": [{"name": "cuda:0", "type": "cuda", "vram_total": 9, "torch_vram_total": 5, "torch_vram_free": 2}]}'
  )
  t.match(await http.systemStats(), {
    version: '0.38.1',
    devices: [{ name: 'cuda:0', vramTotalBytes: 9, heldBytes: 3 }]
  })
  for (const nonsense of [
    '[]',
    '{"queue_running": 1}',
    '{"queue_running": [[1]], "queue_pending": []}',
    '<html>',
    ''
  ]) {
    answer(nonsense)
    await t.rejects(http.queue(), { code: 'comfyui-answer' })
  }
  answer('{"p": 5}')
  await t.rejects(http.history('p'), { code: 'comfyui-answer' })
  answer('no', 500)
  await t.rejects(http.queue(), { code: 'comfyui-answer', status: 500 })
  answer(JSON.stringify('x'.repeat(20_000)))
  await t.rejects(http.queue(), { code: 'comfyui-answer' })
})

t.test('every call has a deadline and tells why there is no answer', async t => {
  const { http, fake } = await setUp(t)
  fake.state.handle = () => true
  await t.rejects(http.queue(), { code: 'comfyui-timeout' })
  fake.state.handle = (_, response) => response.writeHead(200).write('{')
  await t.rejects(http.queue(), { code: 'comfyui-timeout' })
  t.match(await http.submit('{}', { timeoutMs: 100 }), { kind: 'failed', reason: 'timeout', refused: false })
  await t.rejects(http.queue({ signal: AbortSignal.abort(new Error('enough')) }), { message: 'enough' })
  await fake.stop()
  t.match(await http.submit('{}'), { kind: 'failed', reason: 'unreachable', refused: true })
  await t.rejects(http.queue(), { code: 'comfyui-unreachable' })
  await t.rejects(http.queue(), { code: 'comfyui-unreachable', refused: true })
})

t.test('the outcomes of posting a workflow are told apart', async t => {
  const { http, answer } = await setUp(t)
  answer('{"prompt_id": "p", "number": NaN, "node_errors": {"1": {}}}')
  t.match(await http.submit('{}'), { kind: 'accepted', number: undefined, nodeErrors: { 1: {} } })
  answer('[]')
  t.match(await http.submit('{}'), { kind: 'failed', reason: 'answer' })
  answer('{"error": {"type": "no_prompt"}, "node_errors": {}}', 400)
  t.match(await http.submit('{}'), { kind: 'rejected', placement: false, error: { type: 'no_prompt' } })
  answer('Maximum request body size 1 exceeded', 413)
  t.match(await http.submit('{}'), { kind: 'rejected', placement: true, error: { type: 'too_large' } })
  answer('', 403)
  t.match(await http.submit('{}'), { kind: 'failed', reason: 'answer' })
  answer('500 Internal Server Error', 500)
  t.match(await http.submit('{}'), { kind: 'failed', reason: 'server-error' })
})

t.test('files go up under any name and come down as a stream', async t => {
  const { http, fake } = await setUp(t)
  let sent = ''
  fake.state.handle = ({ url, body }, response) => {
    if (url.endsWith('/upload/image')) {
      sent = body.toString()
      response.end('{"name": "a (1).png", "subfolder": "s", "type": "input"}')
      return true
    }
    response.writeHead(206, { 'content-type': 'image/png', 'x-url': url }).end('ytes')
    return true
  }
  async function* chunks() {
    yield Buffer.from('by')
    yield Buffer.from('tes')
  }
  const uploaded = await http.upload({ filename: 'a"b\r\n.png', subfolder: 's', body: chunks() })
  t.same(uploaded, { filename: 'a (1).png', subfolder: 's', type: 'input' })
  t.match(sent, /name="image"; filename="a%22b%0D%0A\.png"\r\n/)
  t.match(sent, /\r\n\r\nbytes\r\n--/)
  t.match(sent, /name="overwrite"\r\n\r\nfalse\r\n/)
  const { status, headers, body } = await http.view(
    { filename: 'ä&.png', subfolder: 'x/y', type: 'temp' },
    { range: 'bytes=1-' }
  )
  t.match(
    { status, headers },
    { status: 206, headers: { 'x-url': '/base/view?filename=%C3%A4%26.png&subfolder=x%2Fy&type=temp' } }
  )
  t.equal((await body.toArray()).join(''), 'ytes')
})

t.test('a file that is not wanted after all is let go', async t => {
  const { http, answer } = await setUp(t)
  answer('x'.repeat(1_000_000), 404)
  const { status, body } = await http.view({ filename: 'a', subfolder: '', type: 'output' })
  t.equal(status, 404)
  const closed = new Promise<void>(resolve => void body.on('close', resolve))
  body.destroy()
  await closed
})

t.test('model sizes are read as far as ComfyUI tells them', async t => {
  const { http, fake } = await setUp(t)
  fake.state.handle = ({ url }, response) => {
    if (url === '/base/models') response.end('["checkpoints", "loras", 5]')
    else if (url.endsWith('/checkpoints')) response.end('[{"name": "a.safetensors", "size": 7}, {"name": 3}, null]')
    else response.writeHead(500).end()
    return true
  }
  t.same(await http.modelSizes(), { 'a.safetensors': 7 })
})
