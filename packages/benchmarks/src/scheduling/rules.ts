import { createDispatchRule } from '@comfy-balancer/domain/virtual-fleet/dispatch-rule'
import { type Rule, type Scenario, simulate } from '@comfy-balancer/domain/virtual-fleet/simulate'
import type { VirtualRun } from '@comfy-balancer/domain/virtual-fleet/virtual-job'
import { randomFrom } from '../chaos/random.ts'
import { peers, shortestFirst } from './peers.ts'

/** What we call ourselves in the tables. */
export const ours = 'comfy-balancer'

/** A rule to measure the bound by, and not one of those in the tables. */
export const oracle = shortestFirst().name

const rulesFor = ({ jobs, modelBytes }: Scenario, seed: number): Rule[] => {
  const models = [...new Set(jobs.map(job => job.model))]
  return [
    createDispatchRule({ models, random: randomFrom(seed), ...(modelBytes ? { modelBytes } : {}) }),
    ...peers(randomFrom(seed)),
    shortestFirst()
  ]
}

/** The names of all rules, ours first. */
export const ruleNames: readonly string[] = rulesFor({ gpus: [], jobs: [], loadSeconds: () => 0 }, 0)
  .map(rule => rule.name)
  .filter(name => name !== oracle)

/** Runs a scenario by one of the rules. */
export const runBy = (name: string, scenario: Scenario, seed: number): VirtualRun[] => {
  const rule = rulesFor(scenario, seed).find(one => one.name === name)
  if (!rule) throw new RangeError(`no rule is named ${name}`)
  return simulate(scenario, rule)
}
