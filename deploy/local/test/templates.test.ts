/** The templates that are shipped, run as `npm start` serves them. */
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createClient } from '@comfy-balancer/client/client'
import type { Task } from '@comfy-balancer/contract/task'
import t, { type Test } from 'tap'
import { startFleet } from '../src/fleet.ts'
import { makeOwnFolder } from '../src/own-folder.ts'
import { root } from '../src/root.ts'

const redisUrl = process.env.REDIS_URL
if (!redisUrl) throw new Error('REDIS_URL is not set: run the tests with `npm test`')

let photo = Buffer.alloc(0)
const photoServer = createServer((_request, response) => response.setHeader('content-type', 'image/png').end(photo))
await new Promise<void>(resolve => photoServer.listen(0, '127.0.0.1', resolve))
const { port } = photoServer.address() as AddressInfo

const folder = makeOwnFolder('templates-test')
const env = {
  REDIS_KEY_PREFIX: `{templates-${randomBytes(6).toString('hex')}}:`,
  EGRESS_ALLOW_PRIVATE_CIDRS: '127.0.0.1/32',
  EGRESS_PORTS_ALLOW: String(port)
}
const fleet = await startFleet({ redisUrl, folder, env, timeScale: 0.01, simulators: [{ speed: 1 }, { speed: 1 }] })
const client = createClient({ baseUrl: fleet.balancerUrls[0]! })
t.teardown(async () => {
  photoServer.close()
  await fleet.stop(5_000)
  rmSync(folder, { recursive: true, force: true })
})

/** The kind of a picture and its size, read from its first bytes as far as they tell. */
const pictureOf = async (t: Test, task: Task) => {
  t.match(task, { state: 'succeeded', error: null }, JSON.stringify(task.error))
  const [output] = task.outputs
  const bytes = Buffer.from(await (await client.download(output!)).arrayBuffer())
  t.equal(bytes.length, output?.bytes)
  const { mediaType, filename } = output!
  if (bytes.subarray(1, 4).toString() !== 'PNG') return { mediaType, filename, head: bytes.subarray(0, 12) }
  const size = `${bytes.readUInt32BE(16)} x ${bytes.readUInt32BE(20)}`
  return { mediaType, filename, size, pixels: pixelsOf(bytes) }
}

/** What tells pictures apart without the words that ComfyUI writes into them: their IDAT chunks. */
const pixelsOf = (png: Buffer): string => {
  const hash = createHash('sha256')
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT')
      hash.update(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)))
  }
  return hash.digest('hex')
}

const run = async (body: Parameters<typeof client.generate>[0]): Promise<Task> =>
  client.wait((await client.generate(body)).id, { timeoutMs: 120_000 })

t.test('every file of deploy/templates is served', async t => {
  const { data } = await client.templates.list()
  const files = readdirSync(join(root, 'deploy/templates')).map(file => `${file}`.replace('.json', ''))
  t.same(
    data.map(({ name }) => name),
    files.sort()
  )
  t.ok(data.every(({ shared, description }) => shared && description))
})

t.test('product_photo_synthetic gives a PNG of 1024 x 1024, and the same one again for its seed', async t => {
  const params = { product_description: 'a green glass bottle of olive oil', style: 'dramatic' }
  const first = await run({ template: 'product_photo_synthetic', params })
  const picture = await pictureOf(t, first)
  t.match(picture, { mediaType: 'image/png', size: '1024 x 1024' })
  const again = await run({ template: 'product_photo_synthetic', params: { ...params, seed: first.seed } })
  t.equal((await pictureOf(t, again)).pixels, picture.pixels)
})

t.test('social_media_post gives a JPEG in the shape of its platform', async t => {
  const { head, ...picture } = await pictureOf(
    t,
    await run({ template: 'social_media_post', params: { topic: 'spring', platform: 'story' } })
  )
  t.match(picture, { mediaType: 'image/jpeg', filename: /\.jpg$/ })
  t.equal(head?.subarray(0, 3).toString('hex'), 'ffd8ff')
})

t.test('ad_variations gives a group of four different pictures, or as many as count says', async t => {
  const params = { product: 'a city bicycle', audience: 'students', seed: 100 }
  const { id, total } = await client.generateGroup({ template: 'ad_variations', params }, { waitSeconds: 50 })
  t.equal(total, 4)
  const { tasks } = await client.getGroup(id)
  const ended = await Promise.all(tasks.map(task => client.wait(task.id, { timeoutMs: 120_000 })))
  t.same(
    ended.map(({ seed }) => seed),
    ['100', '101', '102', '103']
  )
  const pictures = await Promise.all(ended.map(task => pictureOf(t, task)))
  for (const picture of pictures) t.match(picture, { mediaType: 'image/png', size: '768 x 512' })
  t.equal(new Set(pictures.map(({ pixels }) => pixels)).size, 4)
  t.match(await client.getGroup(id), { percent: 100, counts: { succeeded: 4 }, finishedAt: /Z$/ })
  const two = await client.generateGroup({ template: 'ad_variations', params, count: 2 })
  t.equal(two.total, 2)
  t.match(await client.cancelGroup(two.id), { total: 2, percent: 100 })
})

t.test('virtual_avatar makes a WebP from a reference photo in the style of a LoRA', async t => {
  const [picture] = (await run({ template: 'product_photo_synthetic', params: { product_description: 'a face' } }))
    .outputs
  photo = Buffer.from(await (await client.download(picture!)).arrayBuffer())
  const image = `http://127.0.0.1:${port}/photo.png`
  const references = [{ name: 'photo', image, strength: 0.6 }]
  const params = { persona: 'a friendly barista', style: 'pixel' }
  const task = await run({ template: 'virtual_avatar', params, references })
  const { head, ...shown } = await pictureOf(t, task)
  t.match(shown, { mediaType: 'image/webp', filename: /\.webp$/ })
  t.equal(head?.subarray(8, 12).toString(), 'WEBP')
  const { prompt } = await client.templates.preview('virtual_avatar', { params, references })
  t.match(prompt, { 3: { inputs: { denoise: 0.4 } }, 10: { inputs: { lora_name: 'pixel-art-xl.safetensors' } } })
})
