import { type RawData, WebSocket } from 'ws'
import { stringifyPythonJson } from '../src/json/python-json.ts'
import { createSimulator, type Simulator, type SimulatorOptions } from '../src/simulator.ts'

/** What these functions need of a tap test. */
interface Test {
  teardown(end: () => unknown): void
}

/** A message received over the WebSocket: JSON, or a binary frame by its event number. */
export interface Received {
  type: string
  data: Record<string, unknown>
  bytes?: Buffer
}

/** A socket that remembers everything it receives. */
export interface Listener {
  socket: WebSocket
  messages: Received[]
  types(): string[]
}

/** A simulator for one test, a hundred times as fast as real time. */
export async function aSimulator(test: Test, options: SimulatorOptions = {}): Promise<Simulator> {
  const simulator = createSimulator({ timeScale: 0.01, hasPreviews: false, ...options })
  await simulator.listen()
  test.teardown(() => simulator.close())
  return simulator
}

export async function listener(test: Test, simulator: Simulator, clientId: string): Promise<Listener> {
  const socket = new WebSocket(`${simulator.url.replace('http', 'ws')}/ws?clientId=${clientId}`)
  const messages: Received[] = []
  socket.on('message', (data: RawData, isBinary: boolean) => messages.push(received(data as Buffer, isBinary)))
  socket.on('error', () => socket.terminate())
  test.teardown(() => socket.terminate())
  await until(() => messages.length > 0)
  return { socket, messages, types: () => messages.map(({ type }) => type) }
}

function received(data: Buffer, isBinary: boolean): Received {
  if (isBinary) return { type: `binary ${data.readUInt32BE(0)}`, data: {}, bytes: data }
  return JSON.parse(data.toString().replace(/\bNaN\b/g, 'null')) as Received
}

/** Waits until something holds, at most ten seconds. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 10_000
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error('waited too long')
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

export interface Answer {
  status: number
  headers: Headers
  text: string
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely
  body: any
}

export async function call(simulator: Simulator, method: string, path: string, body?: unknown): Promise<Answer> {
  const text = typeof body === 'string' ? body : body === undefined ? undefined : stringifyPythonJson(body)
  const response = await fetch(simulator.url + path, { method, ...(text === undefined ? {} : { body: text }) })
  const answer = await response.text()
  return { status: response.status, headers: response.headers, text: answer, body: tolerant(answer) }
}

function tolerant(text: string): unknown {
  try {
    return JSON.parse(text.replace(/\b(NaN|-?Infinity)\b/g, 'null'))
  } catch {
    return undefined
  }
}

export async function submit(simulator: Simulator, prompt: unknown, more: object = {}): Promise<string> {
  const answer = await call(simulator, 'POST', '/prompt', { prompt, ...more })
  if (answer.status !== 200) throw new Error(answer.text)
  return answer.body.prompt_id
}

// biome-ignore lint/suspicious/noExplicitAny: history entries are looked into freely
export async function finished(simulator: Simulator, id: string): Promise<any> {
  let entry: unknown
  await until(async () => {
    entry = (await call(simulator, 'GET', `/history/${id}`)).body[id]
    return entry !== undefined
  })
  return entry
}

/** EmptyImage, ImageInvert, SaveImage. */
export function trivial(prefix = 'test', color = 255): Record<string, unknown> {
  return {
    1: { class_type: 'EmptyImage', inputs: { width: 64, height: 48, batch_size: 1, color } },
    2: { class_type: 'ImageInvert', inputs: { image: ['1', 0] } },
    3: { class_type: 'SaveImage', inputs: { images: ['2', 0], filename_prefix: prefix } }
  }
}

/** EmptyImage, a slow node, SaveImage; `TestSleep` reports progress, `TestAsyncTimeout` does not. */
export function slow(seconds: number, classType = 'TestSleep', color = 1): Record<string, unknown> {
  const waits = classType === 'TestSleep' ? { seconds } : { timeout: 10, operation_time: seconds }
  return {
    1: { class_type: 'EmptyImage', inputs: { width: 16, height: 16, batch_size: 1, color } },
    2: { class_type: classType, inputs: { value: ['1', 0], ...waits } },
    3: { class_type: 'SaveImage', inputs: { images: ['2', 0], filename_prefix: 'slow' } }
  }
}

/** A text-to-image graph on a checkpoint. */
export function painting(checkpoint: string, seed = 1, size = 128): Record<string, unknown> {
  return {
    4: { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: checkpoint } },
    5: { class_type: 'EmptyLatentImage', inputs: { width: size, height: size, batch_size: 1 } },
    6: { class_type: 'CLIPTextEncode', inputs: { text: 'a lake at sunset', clip: ['4', 1] } },
    7: { class_type: 'CLIPTextEncode', inputs: { text: 'blurry', clip: ['4', 1] } },
    3: {
      class_type: 'KSampler',
      inputs: {
        model: ['4', 0],
        positive: ['6', 0],
        negative: ['7', 0],
        latent_image: ['5', 0],
        seed,
        steps: 4,
        cfg: 7,
        sampler_name: 'euler',
        scheduler: 'normal',
        denoise: 1
      }
    },
    8: { class_type: 'VAEDecode', inputs: { samples: ['3', 0], vae: ['4', 2] } },
    9: { class_type: 'SaveImage', inputs: { images: ['8', 0], filename_prefix: 'painting' } }
  }
}
