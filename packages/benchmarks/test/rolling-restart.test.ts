import { randomBytes } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createClient } from '@comfy-balancer/client/client'
import { drainNode } from '@comfy-balancer/contract/endpoints/nodes'
import { startFleet } from '@comfy-balancer/local/fleet'
import { makeOwnFolder } from '@comfy-balancer/local/own-folder'
import { until } from '@comfy-balancer/local/until'
import t from 'tap'
import { isBroken, measureRollingRestart, runCommand } from '../src/rolling-restart.ts'

const redisUrl = process.env.REDIS_URL
if (!redisUrl) throw new Error('REDIS_URL is not set: run the tests with `npm test`')

const folder = makeOwnFolder('rolling-restart-test')
/** A machine that is busy with other tests must not look like a fleet that falls silent. */
const env = {
  REDIS_KEY_PREFIX: `{rolling-${randomBytes(6).toString('hex')}}:`,
  AUTH_MODE: 'none',
  NODE_ALIVE_MS: '20000',
  LEASE_MS: '30000',
  NODE_OPTIONS: ''
}
const simulators = [{ speed: 1 }, { speed: 1 }, { speed: 1 }, { speed: 1 }]
const fleet = await startFleet({ redisUrl, folder, env, simulators, areOwned: true })
t.teardown(async () => {
  await fleet.stop(60_000)
  rmSync(folder, { recursive: true, force: true })
})
const url = fleet.balancerUrls[0]!
const client = createClient({ baseUrl: url })

t.test('a fleet of 4 is restarted under load: no task fails, 3 nodes are always ready', async t => {
  const found = await measureRollingRestart(fleet)
  t.match(found, { nodes: 4, failed: 0, secondAttempts: 0, leastReady: 3, exitCode: 0 }, found.said)
  t.notOk(isBroken(found))
  t.ok(found.tasks >= 12)
  const nodes = await client.nodes()
  t.same(
    nodes.map(({ comfyui }) => comfyui?.care),
    nodes.map(() => ({ owned: true, state: 'well', reason: null, restarts: 1 }))
  )
})

t.test('it stops at the first node that does not pass', async t => {
  const canary = join(folder, 'canary.json')
  const failing = {
    '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 1 } },
    '2': { class_type: 'TestSyncError', inputs: { value: ['1', 0] } },
    '3': { class_type: 'SaveImage', inputs: { images: ['2', 0], filename_prefix: 'canary' } }
  }
  writeFileSync(canary, JSON.stringify(failing))
  const { exitCode, said } = await runCommand(url, '--nodes', 'gpu-b,gpu-c', '--canary', canary)
  t.equal(exitCode, 1)
  t.match(said, /stopped: gpu-b is back, but its canary task_\w+ is failed: TestSyncError/)
  t.notMatch(said, /gpu-c: /)
})

t.test('it refuses what would not keep capacity, or cannot be done', async t => {
  await client.call(drainNode, { params: { id: 'gpu-d' } })
  await until(
    async () => ((await client.nodes()).filter(({ state }) => state === 'ready').length === 3 ? true : undefined),
    20_000
  )
  const refused = [
    [['--nodes', 'gpu-d'], /not ready, or not known: gpu-d; nothing was restarted/],
    [['--at-once', '3'], /would leave none of 3 ready nodes/],
    [['--at-once', 'two'], /--at-once two is not a number.*\n\nuse: /s],
    [['--canary', join(folder, 'none')], /--canary .* cannot be read/],
    [['--wrong'], /Unknown option '--wrong'/]
  ] as const
  for (const [words, answer] of refused) {
    const { exitCode, said } = await runCommand(url, ...words)
    t.equal(exitCode, 1)
    t.match(said, answer)
  }
})
