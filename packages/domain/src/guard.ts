import type { Need } from '@comfy-balancer/contract/need'
import { modelsOf } from './capability.ts'
import { heldDuring } from './held.ts'
import type { Pair } from './open-pairs.ts'
import type { Candidate, NodeView, Situation } from './policy.ts'
import { predict, type Rates, ratesOf } from './prediction.ts'
import type { Suitability } from './suitability.ts'

/** After so long a wait a task takes any capable node (dispatch.md, rule 1). */
const guardEndsSeconds = 120
/** Another node must finish clearly sooner before a free one is left idle for it: predictions err by more than this. */
const guardMargin = 0.9

/** It looks at so many waiting tasks, or at one for each node; when more wait, every node has work to do. */
const guardLooks = 64

/** A node at work: when it will be free, and what it will hold then. */
type AtWork = {
  readonly node: NodeView
  readonly seconds: number
  readonly resident: ReadonlySet<string>
  readonly rates: Map<string, Rates>
}

const atWork = (node: NodeView, need: Need, seconds: number): AtWork => ({
  node,
  seconds,
  resident: heldDuring(node, need),
  rates: new Map()
})

/**
 * Rule 1: leaves out a pair when the other nodes, those at work now or from this round on, would still finish the task clearly sooner after
 * everything that is ahead of it.
 */
export const createGuard = ({ nodes, candidates, learned, waiting, nowMs }: Situation, isSuitable: Suitability) => {
  const isOn = waiting <= Math.max(guardLooks, nodes.filter(node => node.available).length)
  const busy = nodes.flatMap(node => (node.attempt ? [atWork(node, node.attempt.need, remaining(node.attempt))] : []))
  const models = new Map(candidates.map(task => [task.needId, modelsOf(task.need).join()]))
  let ahead = candidates.toSorted((a, b) => a.orderMs - b.orderMs)

  const ratesFor = ({ node, resident, rates }: AtWork, { needId, need }: Candidate): Rates => {
    const found = rates.get(needId) ?? ratesOf({ ...node, resident }, need, learned.get(needId))
    rates.set(needId, found)
    return found
  }

  /** Gives what waits, in order, to the node at work that finishes it first. */
  const finishSeconds = (): ReadonlyMap<Candidate, number> => {
    const finish = new Map<Candidate, number>()
    const lanes = busy.map(one => ({ one, seconds: one.seconds, models: '' }))
    for (const task of ahead) {
      const same = models.get(task.needId)!
      const ends = lanes
        .filter(({ one }) => isSuitable(one.node, task))
        .map(lane => {
          const rates = ratesFor(lane.one, task)
          const load = lane.models === '' ? rates.loadSeconds : lane.models === same ? 0 : rates.coldSeconds
          const { executionSeconds } = predict(rates, task)
          return { lane, seconds: lane.seconds + load + executionSeconds }
        })
      if (ends.length === 0) continue
      const first = ends.reduce((best, end) => (end.seconds < best.seconds ? end : best))
      finish.set(task, first.seconds)
      first.lane.seconds = first.seconds
      first.lane.models = same
    }
    return finish
  }

  return {
    allowed(pairs: readonly Pair[]): readonly Pair[] {
      if (!isOn) return pairs
      const elsewhere = finishSeconds()
      return pairs.filter(({ task, seconds }) => {
        const waitedSeconds = (nowMs - task.acceptedMs) / 1000
        return waitedSeconds >= guardEndsSeconds || !((elsewhere.get(task) ?? seconds) < seconds * guardMargin)
      })
    },

    claimed({ node, task, seconds }: Pair): void {
      ahead = ahead.filter(other => other !== task)
      busy.push(atWork(node, task.need, seconds))
    }
  }
}

/** An attempt that is overdue is believed to need as long again as it is late. */
const remaining = ({ predictedSeconds, elapsedSeconds }: NonNullable<NodeView['attempt']>): number =>
  Math.abs(predictedSeconds - elapsedSeconds)
