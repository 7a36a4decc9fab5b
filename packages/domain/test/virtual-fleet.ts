import type { Assignment, Situation } from '../src/policy.ts'
import { createDispatchRule } from '../src/virtual-fleet/dispatch-rule.ts'
import { simulate } from '../src/virtual-fleet/simulate.ts'
import { aLearned } from './builders.ts'

/** A node of the virtual fleet. `secondsPerWork` is its speed, `resident` the model that it starts with. */
export type VirtualNode = { id: string; secondsPerWork: number; resident?: string }

/** A task to come. The age that priority lends it is `headStartMs`. */
export type Arrival = { id: string; atMs: number; model: string; work: number; tenant?: string; headStartMs?: number }

/** What became of a task: `loaded` is true when its model was not resident. */
export type Run = Arrival & { node: string; claimedMs: number; endedMs: number; loaded: boolean }

export type FleetOptions = {
  readonly nodes: readonly VirtualNode[]
  readonly arrivals: readonly Arrival[]
  readonly loadSeconds: number
  readonly random: () => number
  /** Of tenants that weigh something else than 1. */
  readonly weights?: Readonly<Record<string, number>>
  readonly onRound?: (situation: Situation, chosen: readonly Assignment[]) => void
}

const models = ['A', 'B', 'C', 'D']

/** Runs the policy over a fleet in virtual time until every task has ended, its predictions being exact. In the order of the claims. */
export const runFleet = ({ nodes, arrivals, loadSeconds, ...rest }: FleetOptions): Run[] => {
  const learned = aLearned(loadSeconds, Object.fromEntries(nodes.map(node => [node.id, node.secondsPerWork])))
  const known = new Map(models.map(model => [model, learned]))
  const gpus = nodes.map(({ id, secondsPerWork, resident }) => ({
    id,
    speed: 1 / secondsPerWork,
    holds: resident === undefined ? [] : [resident]
  }))
  const jobs = arrivals.map(arrival => ({ ...arrival, seconds: arrival.work }))
  const runs = simulate({ gpus, jobs, loadSeconds: () => loadSeconds }, createDispatchRule({ models, known, ...rest }))
  return runs.map(run => ({ ...run, node: run.on })).toSorted((a, b) => a.claimedMs - b.claimedMs)
}
