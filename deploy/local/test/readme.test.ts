/** What the READMEs tell to paste, run as it is written; only the two ports are others. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createClient } from '@comfy-balancer/client/client'
import { drainNode, resumeNode } from '@comfy-balancer/contract/endpoints/nodes'
import { Redis } from 'ioredis'
import t from 'tap'
import { startFleet } from '../src/fleet.ts'
import { makeOwnFolder } from '../src/own-folder.ts'
import { isPng } from '../src/png.ts'
import { freePort } from '../src/port.ts'
import { root } from '../src/root.ts'

const redisUrl = process.env.REDIS_URL
if (!redisUrl) throw new Error('REDIS_URL is not set: run the tests with `npm test`')

const receiverPort = await freePort(0)
const written = (file: string, section: string, language: string): string[] => {
  const [, text = ''] = readFileSync(join(root, file), 'utf8').split(new RegExp(`^## ${section}\n`, 'm'))
  const blocks = text.split(/^## /m)[0]!.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, 'gm'))
  return [...blocks].map(([, block]) => block!.replaceAll('9000', String(receiverPort)))
}

const [start = '', prepare = ''] = written('README.md', 'Integrate in an hour', 'sh')
const [integrate = ''] = written('README.md', 'Integrate in an hour', 'js')

const folder = makeOwnFolder('readme-test')
const prefix = `{readme-${randomBytes(6).toString('hex')}}:`
const settings = Object.fromEntries([...start.matchAll(/([A-Z_]+)=(\S+)/g)].map(([, name, value]) => [name!, value!]))
const env = { ...settings, REDIS_KEY_PREFIX: prefix }
const fleet = await startFleet({ redisUrl, folder, env, timeScale: 0.01, simulators: [{ speed: 1 }] })
const baseUrl = fleet.balancerUrls[0]!
const client = createClient({ baseUrl })
symlinkSync(join(root, 'deploy/local/node_modules'), join(folder, 'node_modules'))
t.teardown(async () => {
  await fleet.stop()
  const redis = new Redis(redisUrl)
  const keys = await redis.keys(`${prefix}*`)
  if (keys.length > 0) await redis.del(...keys)
  redis.disconnect()
  rmSync(folder, { recursive: true, force: true })
})

/** Runs a program where the reader would, and gives what it printed. */
const run = (command: string, ...args: string[]): Promise<string> =>
  new Promise((resolve, reject) => {
    const options = { cwd: folder, timeout: 120_000 }
    execFile('env', ['-u', 'NODE_OPTIONS', command, ...args], options, (error, stdout, stderr) =>
      error ? reject(new Error(`${command} ${args.join(' ')}: ${error.message}\n${stdout}${stderr}`)) : resolve(stdout)
    )
  })

const save = (file: string, text: string): void =>
  writeFileSync(join(folder, file), text.replaceAll('http://127.0.0.1:8080', baseUrl))

const examples = {
  generate: 'Generate and save the picture',
  follow: 'Follow the progress',
  reference: 'A reference image',
  group: 'Four seeds, one group',
  cancel: 'Cancel, and what went wrong'
}

t.test("the client's five examples are TypeScript that compiles", async () => {
  for (const [name, section] of Object.entries(examples)) {
    save(`${name}.mts`, written('packages/client/README.md', section, 'ts').join('\n'))
  }
  const { compilerOptions } = JSON.parse(readFileSync(join(root, 'tsconfig.base.json'), 'utf8'))
  const options = { ...compilerOptions, composite: false, declaration: false, declarationMap: false, sourceMap: false }
  const files = Object.keys(examples).map(name => `${name}.mts`)
  save('tsconfig.json', JSON.stringify({ compilerOptions: { ...options, rootDir: '.', outDir: '.' }, files }))
  await run(process.execPath, join(root, 'node_modules/typescript/bin/tsc'), '-p', '.')
})

t.test('the first saves a picture', async t => {
  await run(process.execPath, 'generate.mjs')
  t.ok(isPng(readFileSync(join(folder, 'photo.png'))))
})

t.test('the second tells what happens to the end', async t => {
  const lines = (await run(process.execPath, 'follow.mjs')).trim().split('\n')
  t.equal(lines[0], 'task.queued queued')
  t.ok(lines.some(line => /^task\.progress \d+ %$/.test(line)))
  t.equal(lines.at(-1), 'task.succeeded succeeded')
})

t.test('the third makes a picture from the first', async t => {
  t.equal(await run(process.execPath, 'reference.mjs'), 'succeeded image/webp\n')
})

t.test('the fourth makes four pictures of four seeds', async t => {
  const lines = (await run(process.execPath, 'group.mjs')).trim().split('\n')
  t.equal(new Set(lines.map(line => /^succeeded (\d+) \/api\/v1\/tasks\/task_\S+$/.exec(line)?.[1])).size, 4)
})

t.test('the fifth cancels, and shows where a request is wrong', async t => {
  const node = { params: { id: fleet.nodes[0]!.id }, body: {} }
  await client.call(drainNode, node)
  t.equal(
    await run(process.execPath, 'cancel.mjs'),
    'validation-failed 400 /params/platform undefined\ncancelled\n',
    'while no node takes tasks'
  )
  await client.call(resumeNode, node)
})

t.test('the integration of the root README goes from a template to bytes that a signed webhook announced', async t => {
  save('prepare.sh', prepare)
  save('integrate.mjs', integrate)
  t.match(JSON.parse(await run('bash', '-e', 'prepare.sh')), { name: 'thumbnail', shared: false })
  const told = await run(process.execPath, 'integrate.mjs')
  for (const event of ['task.queued', 'task.started', 'task.output', 'task.succeeded']) t.match(told, `event: ${event}`)
  t.match(told, /webhook verified: succeeded; the picture is in thumbnail\.png\n$/)
  const picture = readFileSync(join(folder, 'thumbnail.png'))
  t.ok(isPng(picture))
  t.equal(`${picture.readUInt32BE(16)} x ${picture.readUInt32BE(20)}`, '256 x 256')
})
