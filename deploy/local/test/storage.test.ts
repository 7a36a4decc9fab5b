/** Where outputs live when their node does not: fleets with S3, and with nodes that keep their own. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createClient } from '@comfy-balancer/client/client'
import type { Task } from '@comfy-balancer/contract/task'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { type Fleet, type FleetOptions, startFleet } from '../src/fleet.ts'
import { makeOwnFolder } from '../src/own-folder.ts'
import { isPng } from '../src/png.ts'
import { type Process, startProcess } from '../src/processes.ts'
import { root } from '../src/root.ts'
import { findS3Server, startS3Server } from '../src/s3-server.ts'
import { until } from '../src/until.ts'

const redisUrl = process.env.REDIS_URL
if (!redisUrl) throw new Error('REDIS_URL is not set: run the tests with `npm test`')

const gpu = { speed: 1 }
const waitMs = 60_000
const withS3 = {
  skip: findS3Server() ? false : 'there is no S3 server: install versitygw, or Go and run `npm test`'
} as const

t.test('with S3 the output of a dead node is there, and an S3 that is away costs no attempt', withS3, async t => {
  const folder = aFolder(t, 's3-test')
  const server = (await startS3Server(folder))!
  t.teardown(() => server.process.stop())
  const fleet = await aFleet(t, { folder, simulators: [gpu, gpu], env: server.env })
  const client = createClient({ baseUrl: fleet.balancerUrls[0]! })
  const task = await client.wait((await client.generate(aPicture(1))).id, { timeoutMs: waitMs })
  t.match(task, { state: 'succeeded', outputs: [{ durable: true, mediaType: 'image/png' }] })
  const dead = fleet.nodes.find(({ id }) => id === task.node)!
  for (const process of [dead.service, dead.simulator!]) {
    process.kill('SIGKILL')
    await process.exited
  }
  t.ok(
    await until(
      async () => (await client.nodes()).some(({ id, state }) => id === dead.id && state === 'down') || undefined,
      waitMs
    )
  )
  t.ok(isPng(await bytesOf(client, task)), 'through the balancer')
  const address = `${fleet.balancerUrls[0]}${task.outputs[0]!.url}?redirect=true`
  const redirect = await fetch(address, { redirect: 'manual' })
  t.equal(redirect.status, 302)
  t.match(redirect.headers.get('location'), new RegExp(`^${server.endpoint}/${server.bucket}/tenants/default/tasks/`))
  const direct = await fetch(address)
  t.ok(isPng(Buffer.from(await direct.arrayBuffer())), 'from S3 itself')
  t.equal(direct.headers.get('content-type'), 'image/png')

  await server.process.stop()
  const away = await fetch(`${fleet.balancerUrls[0]}${task.outputs[0]!.url}`)
  t.match(await away.json(), { code: 'output-unavailable', status: 503 })
  const posted = await client.generate(aPicture(2))
  const left = fleet.nodes.find(({ id }) => id !== task.node)!
  t.ok(await until(() => logOf(left.service).includes('the store does not answer yet') || undefined, waitMs))
  const again = (await startS3Server(folder, Number(new URL(server.endpoint).port)))!
  t.teardown(() => again.process.stop())
  const late = await client.wait(posted.id, { timeoutMs: waitMs })
  t.match(late, { state: 'succeeded', attempt: 1 })
  t.ok(isPng(await bytesOf(client, late)))
})

t.test('with S3 what callers bring is kept there too, and LoRAs are read from other buckets', withS3, async t => {
  const folder = aFolder(t, 's3-inputs-test')
  const server = (await startS3Server(folder))!
  t.teardown(() => server.process.stop())
  const loras = join(folder, 'buckets/models/default')
  const modelsDir = join(folder, 'models')
  for (const path of [loras, modelsDir]) mkdirSync(path, { recursive: true })
  writeFileSync(
    join(loras, 'brand.safetensors'),
    Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{}')])
  )
  const env = { ...server.env, LORA_S3_PREFIXES: 's3://models/{tenant}/', COMFYUI_MODELS_DIR: modelsDir }
  const fleet = await aFleet(t, { folder, simulators: [gpu, gpu], env })
  const client = createClient({ baseUrl: fleet.balancerUrls[0]! })
  const onePixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
  const { id } = await client.upload(Buffer.from(onePixel, 'base64'), { filename: 'ref.png' })
  const run = async (seed: number) => {
    const { id: task } = await client.generate({
      prompt: aBrandedPicture(seed),
      inputs: { 'ref.png': { upload: id }, 'inline.png': { base64: onePixel } },
      loras: [{ name: 'brand.safetensors', source: 's3://models/default/brand.safetensors' }]
    })
    return client.wait(task, { timeoutMs: waitMs })
  }
  for (const task of await Promise.all([run(1), run(2), run(3), run(4)])) {
    t.match(task, { state: 'succeeded', attempt: 1, outputs: { length: 3 } })
  }
  const kept = readdirSync(join(modelsDir, 'loras/comfy-balancer')).filter(name => name.endsWith('.safetensors'))
  t.equal(kept.length, 1, 'one file, for both nodes share the folder')
  const inputs = readdirSync(join(folder, 'buckets', server.bucket, 'tenants/default/inputs'))
  t.ok(inputs.length >= 1 && inputs.length <= 5, `${inputs.length} copies of the picture in S3`)
})

t.test('a node that keeps its outputs hands them out through the balancer while it is there', async t => {
  const folder = aFolder(t, 'node-store-test')
  const env = { OUTPUT_STORE: `node:${join(folder, 'outputs')}` }
  const fleet = await aFleet(t, { folder, simulators: [gpu], env })
  const client = createClient({ baseUrl: fleet.balancerUrls[0]!, tries: 1 })
  const task = await client.wait((await client.generate(aPicture(3))).id, { timeoutMs: waitMs })
  t.match(task, { state: 'succeeded', outputs: [{ durable: false }] })
  t.ok(isPng(await bytesOf(client, task)))
  await t.rejects(client.upload(new Uint8Array(9)), { message: /^store-unavailable \(503\)/ })
  const [node] = fleet.nodes
  node!.service.kill('SIGKILL')
  await node!.service.exited
  const away = await fetch(`${fleet.balancerUrls[0]}${task.outputs[0]!.url}`)
  t.match(await away.json(), { code: 'output-unavailable', status: 503 })
  t.ok(Number(away.headers.get('retry-after')) >= 1)

  const service = await startProcess({
    name: 'gpu-a-again',
    command: process.execPath,
    args: [join(root, 'services/comfy-service/dist/src/main.js')],
    env: {
      ...{ ...env, REDIS_URL: redisUrl, REDIS_KEY_PREFIX: prefixOf(folder), HOST: '127.0.0.1', PORT: '0' },
      ...{ METRICS_PORT: '0', NODE_ID: node!.id, COMFYUI_URL: node!.comfyUiUrl }
    },
    logFile: join(folder, 'logs', 'again.log'),
    readyWhen: line => line.includes('"msg":"listening"') || undefined
  })
  t.teardown(() => service.stop())
  const back = await until(() => bytesOf(client, task).catch(() => undefined), waitMs)
  t.ok(back && isPng(back), 'it is back with its node')
})

/** The simulator draws a plain picture at once. */
function aPicture(color: number) {
  return {
    prompt: {
      '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 48, batch_size: 1, color } },
      '9': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'picture' } }
    }
  }
}

/** A painting with a LoRA, beside two pictures that come along. */
function aBrandedPicture(seed: number) {
  const sampler = { seed, steps: 1, cfg: 8, sampler_name: 'euler', scheduler: 'normal', denoise: 1 }
  const links = { model: ['2', 0], positive: ['3', 0], negative: ['3', 0], latent_image: ['4', 0] }
  const saved = (from: string) => ({ class_type: 'SaveImage', inputs: { images: [from, 0], filename_prefix: from } })
  return {
    '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'sd_xl_base_1.0.safetensors' } },
    '2': {
      class_type: 'LoraLoaderModelOnly',
      inputs: { model: ['1', 0], lora_name: 'brand.safetensors', strength_model: 1 }
    },
    '3': { class_type: 'CLIPTextEncode', inputs: { text: 'a lake', clip: ['1', 1] } },
    '4': { class_type: 'EmptyLatentImage', inputs: { width: 64, height: 64, batch_size: 1 } },
    '5': { class_type: 'KSampler', inputs: { ...sampler, ...links } },
    '6': { class_type: 'VAEDecode', inputs: { samples: ['5', 0], vae: ['1', 2] } },
    '7': { class_type: 'LoadImage', inputs: { image: 'ref.png' } },
    '8': { class_type: 'LoadImage', inputs: { image: 'inline.png' } },
    ...{ '9': saved('6'), '10': saved('7'), '11': saved('8') }
  }
}

function aFolder(t: Test, kind: string): string {
  const folder = makeOwnFolder(kind)
  t.teardown(() => t.passing() && rmSync(folder, { recursive: true, force: true }))
  return folder
}

const prefixes = new Map<string, string>()

/** One ledger for each folder. */
function prefixOf(folder: string): string {
  const prefix = prefixes.get(folder) ?? `{storage-${randomBytes(6).toString('hex')}}:`
  prefixes.set(folder, prefix)
  return prefix
}

async function aFleet(t: Test, options: Omit<FleetOptions, 'redisUrl'>): Promise<Fleet> {
  const prefix = prefixOf(options.folder)
  const env = { ...options.env, REDIS_KEY_PREFIX: prefix }
  const fleet = await startFleet({ redisUrl: redisUrl!, timeScale: 0.1, ...options, env })
  t.teardown(async () => {
    await fleet.stop()
    const redis = new Redis(redisUrl!)
    const keys = await redis.keys(`${prefix}*`)
    if (keys.length > 0) await redis.del(...keys)
    redis.disconnect()
  })
  return fleet
}

async function bytesOf(client: ReturnType<typeof createClient>, task: Task): Promise<Buffer> {
  return Buffer.from(await (await client.download(task.outputs[0]!)).arrayBuffer())
}

function logOf(process: Process): string {
  return readFileSync(process.logFile, 'utf8')
}
