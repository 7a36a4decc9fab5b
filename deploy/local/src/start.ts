/** `npm start`: Redis, three simulated ComfyUIs (or those of COMFYUI_URLS), a comfy-service for each, a balancer. Ctrl-C stops it all. */
import { join, relative } from 'node:path'
import { createEnding } from './ending.ts'
import { type Fleet, startFleet } from './fleet.ts'
import { startLogdy } from './logdy.ts'
import { freePort } from './port.ts'
import type { Process } from './processes.ts'
import { type ProvidedRedis, provideRedisOrExit } from './redis.ts'
import { localFolder, root } from './root.ts'
import { tellRunning } from './running.ts'
import { say } from './say.ts'

const wantedPort = 8080
/** More than the 25 s in which a service finishes what runs or hands it back. */
const graceMs = 30_000
const speeds = [1, 1, 0.5]
/** Real ComfyUIs get a ledger of their own: it remembers nodes and tasks over a restart, and those of a simulated fleet would only confuse. */
const realPrefix = { REDIS_KEY_PREFIX: '{cb-real}:' }
/** A store belongs to one ledger, which removes from it what it does not know. */
const realStore = { OUTPUT_STORE: `folder:${join(localFolder, 'outputs-of-real')}` }

const ending = createEnding(0)

const main = async (): Promise<void> => {
  const comfyUiUrls = readComfyUiUrls()
  const redis = await provideRedisOrExit({ keep: true })
  ending.add('Redis', redis.stop)
  const logdy = await startLogdy(localFolder)
  if (logdy) ending.add('logdy', async () => void (await logdy.process.stop()))
  const port = await freePort(wantedPort)
  if (port !== wantedPort) say(`port ${wantedPort} is taken by another program; the balancer takes ${port}`)
  const fleet = await startFleet({
    redisUrl: redis.url,
    folder: localFolder,
    balancerPort: port,
    ...(comfyUiUrls ? { comfyUiUrls } : { simulators: speeds.map(speed => ({ speed })) }),
    env: {
      ...(comfyUiUrls && { ...realPrefix, ...realStore }),
      ...givenStore(),
      ...(logdy && { LOGDY_UI_URL: logdy.url })
    },
    ...(logdy ? { logdy } : {}),
    onUnexpectedEnd: (process, how) => ending.isEnding() || report(process, how)
  })
  ending.add('balancer, services and simulators', () => fleet.stop(graceMs))
  const untell = tellRunning({ REDIS_URL: redis.url, ...(comfyUiUrls && realPrefix) })
  ending.add('keys', async () => untell())
  say(welcome(fleet, redis, logdy?.url, comfyUiUrls !== undefined))
}

const givenStore = (): Record<string, string> => {
  const { OUTPUT_STORE } = process.env
  return OUTPUT_STORE ? { OUTPUT_STORE } : {}
}

const readComfyUiUrls = (): string[] | undefined => {
  const urls = (process.env.COMFYUI_URLS ?? '').split(',').map(url => url.trim())
  const given = urls.filter(Boolean)
  const wrong = given.find(url => !/^https?:\/\/[^/]/.test(url) || !URL.canParse(url))
  if (wrong !== undefined) throw new Error(`COMFYUI_URLS: "${wrong}" is not an address such as http://gpu1:8188`)
  return given.length > 0 ? given : undefined
}

const report = (process: Process, how: string): void => {
  say(`${process.name} has ended (${how}); the end of ${relative(root, process.logFile)}:\n${process.lastLines()}`)
}

const welcome = (fleet: Fleet, redis: ProvidedRedis, logdyUrl: string | undefined, isReal: boolean): string => {
  const url = fleet.balancerUrls[0]
  const body = join(root, 'deploy/local/workflows/landscape.json')
  const task = join(localFolder, 'task.json')
  const picture = join(localFolder, 'picture.png')
  const hasKeys = process.env.AUTH_MODE === 'keys'
  const key = hasKeys ? ` -H "Authorization: Bearer $KEY"` : ''
  const nodes = fleet.nodes.map(({ id, url, comfyUiUrl }, index) => {
    const kind = isReal ? 'ComfyUI' : `simulated ComfyUI, speed ${speeds[index]}`
    return `  ${index === 0 ? 'nodes ' : '      '}   ${id}  ${url}   ${kind}, ${comfyUiUrl}`
  })
  return [
    '',
    'comfy-balancer is ready. Ctrl-C stops it.',
    '',
    `  fleet    ${url}/`,
    `  API      ${url}/api/v1      to read and try: ${url}/docs`,
    ...nodes,
    ...fleet.absent.map(({ id, comfyUiUrl }) => `           ${id} waits for ${comfyUiUrl}, which does not answer yet`),
    `  Redis    ${redis.version}, ${redis.origin}`,
    ...(logdyUrl ? [`  logdy    ${logdyUrl}`] : []),
    `  logs     ${join(localFolder, 'logs')}`,
    '',
    ...(hasKeys
      ? [
          'API keys are asked for (AUTH_MODE=keys). One for you, in another terminal:',
          '',
          '  KEY=$(npm run --silent keys -- create --tenant me --scopes tasks:read,tasks:write,templates:write,workflows:raw)',
          ''
        ]
      : []),
    'A picture, in another terminal (the answer is the task, the second line fetches what it made):',
    '',
    `  curl -sS${key} -H 'Content-Type: application/json' -H 'Prefer: wait=60' -d @${body} ${url}/api/v1/generate | tee ${task}`,
    `  curl -sS${key} -o ${picture} "${url}$(node -p 'require("${task}").outputs[0].url')"`,
    ''
  ].join('\n')
}

try {
  await main()
} catch (error) {
  say(error instanceof Error ? error.message : String(error))
  await ending.stop()
  process.exit(1)
}
