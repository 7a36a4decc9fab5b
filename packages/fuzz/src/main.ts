/** `npm run fuzz -- --seconds 120 --seed 7`: generated and hostile requests against both services. Exits with 1 when an answer was not as promised. */
import { parseArgs } from 'node:util'
import { provideRedisOrExit } from '@comfy-balancer/local/redis'
import { runCorpora } from './corpus/corpus.ts'
import { openTraps } from './corpus/traps.ts'
import { fuzz } from './fuzz.ts'
import { openStage } from './stage.ts'

const say = (line: string): void => void process.stdout.write(`${line}\n`)

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string', default: String(Date.now() % 1e9) } }
})
const [seconds, seed] = [Number(values.seconds), Number(values.seed)]
if (!(seconds > 0) || !Number.isSafeInteger(seed)) {
  say('use: npm run fuzz -- [--seconds 60] [--seed <whole number>]')
  process.exit(1)
}
const redis = await provideRedisOrExit()
const traps = await openTraps()
const stage = await openStage(redis.url, traps.env)
try {
  const corpora = await runCorpora(stage, traps)
  for (const { name, tried, faults } of corpora) {
    say(`hostile ${name}: ${tried} tried, ${tried - faults.length} refused as they should be`)
    for (const fault of faults) say(`    ${fault}`)
  }
  const { sent, serverErrors, mismatches, statuses, neverServed } = await fuzz(stage, { seed, seconds })
  for (const { service, fault, times, request } of mismatches) say(`${times}× ${service}: ${fault}\n    ${request}\n`)
  say(`seed ${seed}: ${sent} requests sent to comfy-balancer and comfy-service`)
  say(
    `statuses: ${Object.entries(statuses)
      .map(([status, times]) => `${status} ×${times}`)
      .join(', ')}`
  )
  if (neverServed.length > 0) say(`never served: ${neverServed.join(', ')}`)
  say(`5xx (other than 503): ${serverErrors}`)
  say(`mismatches with /openapi.json: ${mismatches.reduce((sum, { times }) => sum + times, 0)}`)
  const wrong = corpora.some(({ faults }) => faults.length > 0)
  process.exitCode = wrong || serverErrors + mismatches.length > 0 ? 1 : 0
} finally {
  await stage.close()
  await traps.close()
  await redis.stop()
}
