/** `npm run chaos -- --seconds 90 --seed 7 [--mutant no-fence|blind-sweep|eternal-slot]`: injects faults and looks for broken promises. */
import { parseArgs } from 'node:util'
import { makeOwnFolder } from '@comfy-balancer/local/own-folder'
import { say } from '@comfy-balancer/local/say'
import { findViolations } from './checks/all.ts'
import { runMutant } from './mutant-run.ts'
import { planFaults } from './plan.ts'
import { summary } from './report.ts'
import { isMutantName, mutantNames } from './rig/mutants.ts'
import { runChaos } from './run.ts'

const usage = `use: npm run chaos -- [--seconds 5…3600] [--seed number] [--mutant ${mutantNames.join(' | ')}] [--plan]`

const main = async (): Promise<number> => {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '90' },
      seed: { type: 'string', default: String(Date.now() % 100_000) },
      mutant: { type: 'string' },
      plan: { type: 'boolean' }
    }
  })
  const [seconds, seed, { mutant }] = [Number(values.seconds), Number(values.seed), values]
  const isWrong = !Number.isInteger(seconds) || seconds < 5 || seconds > 3_600 || !Number.isInteger(seed)
  if (isWrong || (mutant !== undefined && !isMutantName(mutant))) {
    say(usage)
    return 1
  }
  const folder = makeOwnFolder('chaos')
  const plan = planFaults(seed, seconds)
  if (values.plan) {
    for (const { atMs, kind, pick, forMs } of plan)
      say(`${(atMs / 1_000).toFixed(1).padStart(6)} s ${kind} ${pick.toFixed(3)} ${forMs} ms`)
    return 0
  }
  say(`seed ${seed}: ${mutant ?? `${plan.length} faults in ${seconds} s`}; logs in ${folder}`)
  const recording = mutant
    ? await runMutant({ mutant, seed, seconds, folder, say })
    : await runChaos({ seed, seconds, folder, plan, say })
  const violations = findViolations(recording)
  say(summary({ seed, seconds, mutant }, recording, violations))
  return violations.length > 0 ? 1 : 0
}

process.exitCode = await main()
