import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { stringifyPythonJson } from '../src/json/python-json.ts'
import { readWorkflows } from '../src/learn/workflow-reader.ts'
import { decodePng } from '../src/media/png-decoder.ts'
import { encodePng } from '../src/media/png-encoder.ts'
import { paint } from '../src/painting/painter.ts'
import { aSimulator, call, finished, listener, painting, slow, submit, trivial, until } from './client.ts'

const corpus = '/work/shared/workflows-corpus'

const bytesOf = async (url: string) => Buffer.from(await (await fetch(url)).arrayBuffer())

t.test('pictures are real pixels with the graph in their text chunks', async t => {
  const simulator = await aSimulator(t)
  await finished(simulator, await submit(simulator, trivial('pixels', 0x102030)))
  const png = await bytesOf(`${simulator.url}/view?filename=pixels_00001_.png`)
  const decoded = decodePng(png)
  t.match(decoded, { width: 64, height: 48 })
  t.same([...(decoded?.rgba.subarray(0, 4) ?? [])], [0xef, 0xdf, 0xcf, 255])
  t.match(png.toString('latin1'), /tEXtprompt\0\{"1": \{"class_type": "EmptyImage"/)
})

t.test('files are served whole, in parts, unchanged and re-encoded', async t => {
  const simulator = await aSimulator(t)
  await finished(simulator, await submit(simulator, trivial('v')))
  const get = (query: string, headers = {}) => fetch(`${simulator.url}/view?filename=${query}`, { headers })
  const whole = await get('v_00001_.png')
  t.equal(whole.headers.get('content-disposition'), 'filename="v_00001_.png"')
  const etag = whole.headers.get('etag') as string
  t.equal((await get('v_00001_.png', { 'if-none-match': etag })).status, 304)
  const part = await get('v_00001_.png', { range: 'bytes=0-9' })
  t.same([part.status, (await part.arrayBuffer()).byteLength], [206, 10])
  t.equal((await get('v_00001_.png', { range: 'bytes=999999-' })).status, 416)
  const webp = await bytesOf(`${simulator.url}/view?filename=v_00001_.png&preview=webp;90`)
  t.equal(webp.toString('latin1', 8, 16), 'WEBPVP8L')
  t.equal((await bytesOf(`${simulator.url}/view?filename=v_00001_.png&preview=jpeg`)).readUInt16BE(0), 0xffd8)
  t.equal(decodePng(await bytesOf(`${simulator.url}/view?filename=v_00001_.png&channel=a`))?.rgba[3], 255)
  t.equal((await get('v_00001_.png%20%5Boutput%5D&type=input')).status, 200)
  t.same([(await get('no.png')).status, (await get('')).status, (await get('../x')).status], [404, 400, 400])
  t.equal((await get('x.png&subfolder=../..')).status, 403)
  t.equal((await get('x.png&type=bogus')).status, 400)
})

t.test('uploads keep, count up or overwrite, and can be loaded', async t => {
  const simulator = await aSimulator(t)
  const picture = (value: number) =>
    encodePng({ width: 8, height: 8, channels: 4, pixels: new Uint8Array(256).fill(value) })
  const upload = async (bytes: Buffer, name: string, fields: Record<string, string> = {}) => {
    const form = new FormData()
    form.set('image', new File([new Uint8Array(bytes)], name))
    for (const [key, value] of Object.entries(fields)) form.set(key, value)
    const response = await fetch(`${simulator.url}/upload/image`, { method: 'POST', body: form })
    return response.status === 200 ? ((await response.json()) as { name: string }).name : response.status
  }
  const [white, grey] = [await picture(255), await picture(99)]
  t.equal(await upload(white, 'up.png'), 'up.png')
  t.equal(await upload(white, 'up.png'), 'up.png', 'the same content is kept')
  t.equal(await upload(grey, 'up.png'), 'up (1).png')
  t.equal(await upload(grey, 'up.png', { overwrite: 'true' }), 'up.png')
  t.equal(await upload(grey, 'up.png', { type: 'bogus' }), 500)
  t.equal(await upload(grey, '../evil.png'), 400)
  t.equal(await upload(grey, 'a/b.png'), 500)
  t.equal((await call(simulator, 'POST', '/upload/image', { image: 'x' })).status, 400)
  const info = (await call(simulator, 'GET', '/object_info/LoadImage')).body.LoadImage.input.required.image
  t.same(info, [['up (1).png', 'up.png'], { image_upload: true }])
  const load = (image: string) => ({
    1: { class_type: 'LoadImage', inputs: { image } },
    2: { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'loaded' } }
  })
  await finished(simulator, await submit(simulator, load('up.png')))
  t.equal(decodePng(await bytesOf(`${simulator.url}/view?filename=loaded_00001_.png`))?.rgba[0], 99)
  const missing = await call(simulator, 'POST', '/prompt', { prompt: load('nope.png') })
  t.equal(missing.body.node_errors['1'].errors[0].details, 'image - Invalid image file: nope.png')
})

t.test('models load once while they are used, again after another prompt, and fill the VRAM', async t => {
  const simulator = await aSimulator(t, { timeScale: 0.001 })
  const run = async (checkpoint: string, seed: number) =>
    finished(simulator, await submit(simulator, painting(checkpoint, seed)))
  const loads = (name: string) => simulator.state().counters.models[name]
  await run('sd_xl_base_1.0.safetensors', 1)
  await run('sd_xl_base_1.0.safetensors', 2)
  t.same(loads('sd_xl_base_1.0.safetensors'), { loads: 1, reloads: 0 })
  const { vram_free, vram_total } = (await call(simulator, 'GET', '/system_stats')).body.devices[0]
  t.equal(vram_total - vram_free, 6.94e9)
  await run('dreamshaper_8.safetensors', 3)
  t.same(simulator.state().models, [{ name: 'dreamshaper_8.safetensors', bytes: 2.13e9 }])
  await run('sd_xl_base_1.0.safetensors', 4)
  t.same(loads('sd_xl_base_1.0.safetensors'), { loads: 2, reloads: 1 })
  await call(simulator, 'POST', '/free', { unload_models: true })
  await until(() => simulator.state().models.length === 0)
})

t.test('loading takes the time its size asks for', async t => {
  const simulator = await aSimulator(t, { timeScale: 0.02, models: { checkpoints: { 'ten.safetensors': 10e9 } } })
  const start = performance.now()
  const prompt = {
    1: { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'ten.safetensors' } },
    2: { class_type: 'PreviewAny', inputs: { source: ['1', 0] } }
  }
  await finished(simulator, await submit(simulator, prompt))
  t.ok(performance.now() - start >= 195, 'ten seconds at a fiftieth')
})

t.test('a painting depends on prompt, seed, model and size alone', async t => {
  const request = { prompt: 'a lake', seed: '1', model: 'm', width: 96, height: 64 }
  const painted = async (change: object) => Buffer.from(await paint({ ...request, ...change })).toString('base64')
  const first = await painted({})
  t.equal(first.length, (96 * 64 * 3 * 4) / 3)
  t.ok((await painted({})) === first)
  t.ok((await painted({ seed: '2' })) !== first)
  t.ok((await painted({ prompt: 'planets in space' })) !== first)
})

t.test('samplers report every step with a picture when pictures are on', async t => {
  const simulator = await aSimulator(t, { hasPreviews: true })
  const a = await listener(t, simulator, 'a')
  await finished(simulator, await submit(simulator, painting('dreamshaper_8.safetensors'), { client_id: 'a' }))
  await until(() => a.types().includes('execution_success'))
  const steps = a.messages.filter(({ type }) => type === 'progress').map(({ data }) => data.value)
  t.same(steps, [1, 2, 3, 4])
  t.equal(a.types().filter(type => type === 'binary 1').length, 4)
})

t.test('every kind of media node writes a file of its kind', async t => {
  const simulator = await aSimulator(t)
  const images = { class_type: 'EmptyImage', inputs: { width: 32, height: 32, batch_size: 3, color: 99 } }
  const audio = { class_type: 'EmptyAudio', inputs: { duration: 0.5, sample_rate: 44_100, channels: 2 } }
  const entry = await finished(
    simulator,
    await submit(simulator, {
      1: images,
      2: audio,
      3: { class_type: 'CreateVideo', inputs: { images: ['1', 0], fps: 6 } },
      10: {
        class_type: 'SaveAnimatedWEBP',
        inputs: { images: ['1', 0], filename_prefix: 'm', fps: 6, lossless: true, quality: 80, method: 'default' }
      },
      11: {
        class_type: 'SaveAnimatedPNG',
        inputs: { images: ['1', 0], filename_prefix: 'm', fps: 6, compress_level: 4 }
      },
      12: { class_type: 'SaveWEBM', inputs: { images: ['1', 0], filename_prefix: 'm', codec: 'vp9', fps: 6, crf: 32 } },
      13: { class_type: 'SaveVideo', inputs: { video: ['3', 0], filename_prefix: 'm', format: 'auto', codec: 'auto' } },
      14: { class_type: 'SaveAudio', inputs: { audio: ['2', 0], filename_prefix: 'm' } },
      15: { class_type: 'SaveAudioMP3', inputs: { audio: ['2', 0], filename_prefix: 'm', quality: 'V0' } },
      16: { class_type: 'SaveAudioOpus', inputs: { audio: ['2', 0], filename_prefix: 'm', quality: '128k' } }
    })
  )
  t.equal(entry.status.status_str, 'success')
  const marks: Record<string, string> = {
    webp: 'RIFF',
    png: '\x89PNG',
    webm: '\x1aE\xdf\xa3',
    mp4: '\0\0\0',
    flac: 'fLaC',
    mp3: '\xff\xfb',
    opus: 'OggS'
  }
  const files = Object.values(entry.outputs).flatMap(output =>
    Object.values(output as Record<string, { filename?: string }[]>).flat()
  )
  for (const { filename } of files.filter(file => file.filename)) {
    const bytes = await bytesOf(`${simulator.url}/view?filename=${filename}`)
    const mark = marks[filename?.split('.').pop() as string] as string
    t.equal(bytes.toString('latin1', 0, mark.length), mark)
  }
  t.same(entry.outputs['13'].animated, [true])
})

t.test('workflows teach classes, models and media files', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'learn-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const workflow = {
    1: { class_type: 'Fancy Loader', inputs: { name: 'fancy.safetensors' } },
    2: { class_type: 'LoadImage', inputs: { image: 'photo.png' } },
    3: { class_type: 'FancyMixer', inputs: { engine: ['1', 0], image: ['2', 0], amount: 0.5, on: true } },
    4: { class_type: 'SaveImage', inputs: { images: ['3', 0], filename_prefix: 'fancy' } }
  }
  writeFileSync(join(directory, 'fancy.json'), JSON.stringify(workflow))
  const simulator = await aSimulator(t, { learnDirs: [directory] })
  const info = (await call(simulator, 'GET', '/object_info')).body
  t.match(info.FancyMixer, {
    output: ['IMAGE'],
    output_node: false,
    input: { optional: { image: ['IMAGE'], on: ['BOOLEAN'] } }
  })
  t.same(info['Fancy Loader'].input.optional.name[0], ['fancy.safetensors'])
  t.same(info.LoadImage.input.required.image[0], ['photo.png'])
  const entry = await finished(simulator, await submit(simulator, workflow))
  t.equal(entry.status.status_str, 'success')
})

t.test('workflows from the wild', { skip: !existsSync(corpus) && `${corpus} is not here` }, async t => {
  const graphs = readWorkflows(corpus).filter(workflow => !stringifyPythonJson(workflow).includes('%%_'))
  t.equal(graphs.length, 35, 'one file is a template')
  const checking = await aSimulator(t, { learnDirs: [corpus] })
  checking.fault({ fault: 'hang' })
  for (const [index, prompt] of graphs.entries()) {
    const answer = await call(checking, 'POST', '/prompt', { prompt })
    t.equal(answer.status, 200, `workflow ${index} validates`)
    t.same(answer.body.node_errors, {}, `workflow ${index} validates`)
  }
  const running = await aSimulator(t, { learnDirs: [corpus], timeScale: 0.0002 })
  for (const prompt of graphs.filter((_, index) => index % 3 === 1)) {
    const entry = await finished(running, await submit(running, prompt))
    t.equal(entry.status.status_str, 'success')
  }
})

t.test('the command line starts a server that says where it listens and dies at once', async t => {
  const main = fileURLToPath(new URL('../src/main.js', import.meta.url))
  const child = spawn(process.execPath, [main, '--port', '0', '--time-scale', '0.01', '--name', 'gpu-1'])
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.on('data', (data: Buffer) => {
    output += data
  })
  await until(() => output.includes('\n'))
  const { event, port } = JSON.parse(output) as { event: string; port: number }
  t.equal(event, 'listening')
  const state = (await (await fetch(`http://127.0.0.1:${port}/simulator/state`)).json()) as { name: string }
  t.equal(state.name, 'gpu-1')
  await fetch(`http://127.0.0.1:${port}/simulator/faults`, { method: 'POST', body: '{"fault": "crash"}' })
  await until(() => child.signalCode === 'SIGKILL')
})

t.test('faults happen when they are told to', async t => {
  const simulator = await aSimulator(t)
  const a = await listener(t, simulator, 'a')
  const told = (fault: object) => call(simulator, 'POST', '/simulator/faults', fault)
  t.equal((await told({ fault: 'nonsense' })).status, 400)

  await told({ fault: 'out-of-memory' })
  const failed = await finished(simulator, await submit(simulator, trivial('f', 1)))
  t.equal(failed.status.messages.at(-1)[1].exception_type, 'torch.OutOfMemoryError')

  await told({ fault: 'lost-history' })
  const lost = await submit(simulator, trivial('f', 2))
  await until(() => simulator.state().counters.promptsExecuted === 2)
  t.same((await call(simulator, 'GET', `/history/${lost}`)).body, {})

  await told({ fault: 'done-twice' })
  await finished(simulator, await submit(simulator, trivial('f', 3), { client_id: 'a' }))
  await until(() => a.messages.filter(({ type, data }) => type === 'executing' && data.node === null).length === 2)

  await told({ fault: 'wrong-validation' })
  t.equal((await call(simulator, 'POST', '/prompt', { prompt: trivial() })).status, 400)

  await told({ fault: 'late-prompt-answer', ms: 60 })
  const start = performance.now()
  await submit(simulator, trivial('f', 4))
  t.ok(performance.now() - start >= 55)

  await told({ fault: 'slow-node', classType: 'TestSleep', factor: 3 })
  t.same(simulator.state().faults, [{ fault: 'slow-node', classType: 'TestSleep', factor: 3 }])
  await call(simulator, 'DELETE', '/simulator/faults')
  t.same(simulator.state().faults, [])

  await told({ fault: 'silent-websocket' })
  const before = a.messages.length
  await finished(simulator, await submit(simulator, trivial('f', 5), { client_id: 'a' }))
  t.equal(a.messages.length, before)
  await call(simulator, 'DELETE', '/simulator/faults')
  await told({ fault: 'drop-websocket' })
  await until(() => a.socket.readyState === 3)
})

t.test('a hanging worker ignores interrupts, a restart forgets everything, a crash ends it', async t => {
  const simulator = await aSimulator(t)
  simulator.fault({ fault: 'hang' })
  const id = await submit(simulator, slow(0.1))
  await call(simulator, 'POST', '/interrupt')
  t.same((await call(simulator, 'GET', `/history/${id}`)).body, {})
  t.same(simulator.state().queue.running, [id])
  const a = await listener(t, simulator, 'a')
  simulator.fault({ fault: 'restart' })
  await until(() => a.socket.readyState === 3)
  t.same(simulator.state().queue, { running: [], pending: [] })
  const answer = await call(simulator, 'POST', '/prompt', { prompt: trivial() })
  t.equal(answer.body.number, 0, 'numbers begin again')
  await finished(simulator, answer.body.prompt_id)
  const b = await listener(t, simulator, 'b')
  let code = 0
  b.socket.on('close', closed => {
    code = closed
  })
  simulator.fault({ fault: 'crash' })
  await until(() => code === 1006)
})
