import { say } from './results.ts'
import { api } from './suites/api.ts'
import { failover } from './suites/failover.ts'
import { fairness } from './suites/fairness.ts'
import { followers } from './suites/followers.ts'
import { ledger } from './suites/ledger.ts'
import { overhead } from './suites/overhead.ts'
import { real } from './suites/real.ts'
import { redisRestart } from './suites/redis-restart.ts'
import { rollingRestart } from './suites/rolling-restart.ts'
import { scale } from './suites/scale.ts'
import { scheduling } from './suites/scheduling.ts'
import { soak } from './suites/soak.ts'

type Suite = { readonly run: (argument: number) => Promise<void>; readonly usual: number }

/** Each benchmark, with the number of rounds, minutes or nodes that it takes when none is given. */
const suites: Readonly<Record<string, Suite>> = {
  overhead: { run: overhead, usual: 400 },
  api: { run: api, usual: 3 },
  fairness: { run: fairness, usual: 40 },
  followers: { run: followers, usual: 200 },
  ledger: { run: ledger, usual: 60 },
  scale: { run: scale, usual: 100 },
  failover: { run: failover, usual: 30 },
  'redis-restart': { run: redisRestart, usual: 10 },
  'rolling-restart': { run: rollingRestart, usual: 4 },
  scheduling: { run: scheduling, usual: 10 },
  real: { run: real, usual: 5 },
  soak: { run: soak, usual: 10 }
}

const [name = '', argument] = process.argv.slice(2)
const suite = suites[name]
if (suite && (argument === undefined || /^[1-9]\d{0,4}$/.test(argument)))
  await suite.run(Number(argument ?? suite.usual))
else {
  say(`use: npm run bench -- ${Object.keys(suites).join(' | ')} [rounds, minutes or nodes]`)
  process.exitCode = 1
}
