/** `npm run demo`: twelve workflows, three simulated GPUs, one of them killed on the way. Fails unless twelve pictures come out. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { createClient } from '@comfy-balancer/client/client'
import { clearPictures, pictureFolder } from './demo-pictures.ts'
import { demoRequests } from './demo-requests.ts'
import { type DemoResult, DemoRun } from './demo-run.ts'
import { createEnding } from './ending.ts'
import { startFleet } from './fleet.ts'
import { makeOwnFolder } from './own-folder.ts'
import { provideRedisOrExit } from './redis.ts'
import { say } from './say.ts'
import { createScreen } from './screen.ts'

const speeds = [1, 1, 0.75]
/** A simulated second lasts half a second, so that loading three models does not fill the minute. */
const timeScale = 0.5
const graceMs = 3_000
const ending = createEnding(130)

const main = async (): Promise<number> => {
  const folder = makeOwnFolder('demo')
  clearPictures()
  const redis = await provideRedisOrExit()
  ending.add('Redis', redis.stop)
  const fleet = await startFleet({
    ...{ redisUrl: redis.url, folder, timeScale, simulators: speeds.map(speed => ({ speed })) },
    env: { AUTH_MODE: 'none', REDIS_KEY_PREFIX: `{cb-demo-${process.pid}}:` }
  })
  ending.add('balancer, services and simulators', () => fleet.stop(graceMs))
  const client = createClient({ baseUrl: fleet.balancerUrls[0]! })
  const result = await new DemoRun(demoRequests(), { client, fleet, screen: createScreen(process.stdout) }).run()
  await ending.stop()
  const isGood = result.lost === 0 && result.runningSeconds !== undefined
  if (isGood) rmSync(folder, { recursive: true, force: true })
  else say(`logs: ${join(folder, 'logs')}`)
  say(`pictures: ${pictureFolder}`)
  say(lastLine(result))
  return isGood ? 0 : 1
}

const lastLine = ({ pictures, lost, seconds, killedNode, recoveredSeconds, runningSeconds }: DemoResult): string => {
  const recovery = runningSeconds
    ? `its task recovered in ${recoveredSeconds} s and ran again after ${runningSeconds} s`
    : 'its task was not seen running again'
  const killed = killedNode ? `node ${killedNode} killed, ${recovery}` : 'no node was killed'
  return `${pictures} pictures in ${seconds} s · ${killed} · lost: ${lost}`
}

try {
  process.exit(await main())
} catch (error) {
  say(error instanceof Error ? error.message : String(error))
  await ending.stop()
  process.exit(1)
}
