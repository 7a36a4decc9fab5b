import { mkdirSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startFleet } from '@comfy-balancer/local/fleet'
import { provideRedisOrExit } from '@comfy-balancer/local/redis'
import { measureOverhead, overheadTable } from './overhead.ts'

const results = fileURLToPath(new URL('../../results/', import.meta.url))

const say = (text: string): void => void process.stdout.write(`${text}\n`)

/** `npm run bench -- overhead [rounds]`; COMFYUI_URLS measures against a real ComfyUI instead of the simulator. */
const overhead = async (rounds: number): Promise<void> => {
  const redis = await provideRedisOrExit()
  const folder = await mkdtemp(join(tmpdir(), 'comfy-balancer-bench-'))
  const real = process.env.COMFYUI_URLS?.split(',').slice(0, 1)
  const backend = real ? { comfyUiUrls: real } : { simulators: [{ speed: 1 }], timeScale: 0.01 }
  const env = { REDIS_KEY_PREFIX: `{bench-${process.pid}}:` }
  const fleet = await startFleet({ redisUrl: redis.url, folder, env, ...backend })
  try {
    const table = overheadTable(await measureOverhead(fleet, rounds))
    const title = `Sequential trivial tasks, ${rounds} of each in turn, one ${real ? 'real' : 'simulated'} ComfyUI, Node ${process.version}`
    say(`${title}\n\n${table}`)
    mkdirSync(results, { recursive: true })
    writeFileSync(join(results, real ? 'overhead-real.md' : 'overhead.md'), `${title}\n\n${table}\n`)
  } finally {
    await fleet.stop()
    await redis.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

const suites: Readonly<Record<string, (argument: number) => Promise<void>>> = { overhead }

const [name = '', argument = '200'] = process.argv.slice(2)
const suite = suites[name]
if (suite && /^[1-9]\d{0,4}$/.test(argument)) await suite(Number(argument))
else {
  say(`use: npm run bench -- ${Object.keys(suites).join(' | ')} [rounds]`)
  process.exitCode = 1
}
