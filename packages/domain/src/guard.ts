import type { Need } from '@comfy-balancer/contract/need'
import { modelsOf } from './capability.ts'
import type { Candidate, NodeView, Pair, Situation, Suitability } from './policy.ts'
import { type Prediction, predict, totalSeconds } from './prediction.ts'

/** After so long a wait a task takes any capable node (dispatch.md, rule 1). */
const guardEndsSeconds = 120
/** Another node must finish clearly sooner before a free one is left idle for it: predictions err by more than this. */
const guardMargin = 0.9

/** A node at work as it will be when its attempt ends: it holds that attempt's models then. */
type AtWork = { node: NodeView; after: NodeView; seconds: number; predictions: Map<Candidate, Prediction> }

const atWork = (node: NodeView, need: Need, seconds: number): AtWork => ({
  node,
  after: { ...node, resident: new Set(modelsOf(need)) },
  seconds,
  predictions: new Map()
})

/**
 * Rule 1: leaves out a pair when another node, at work now or from this round on, would still finish the task clearly sooner after the
 * same-model tasks that are ahead of it.
 */
export const createGuard = ({ nodes, candidates, learned, waiting, nowMs }: Situation, isSuitable: Suitability) => {
  const isOn = waiting <= nodes.filter(node => node.available).length
  const busy = nodes.flatMap(node => (node.attempt ? [atWork(node, node.attempt.need, remaining(node.attempt))] : []))
  const models = new Map(candidates.map(task => [task.needId, modelsOf(task.need).join()]))
  let ahead = candidates.toSorted((a, b) => a.orderMs - b.orderMs)

  const predicted = ({ after, predictions }: AtWork, task: Candidate): Prediction => {
    const found = predictions.get(task) ?? predict(after, task.need, task.work, learned.get(task.needId))
    predictions.set(task, found)
    return found
  }

  const finishSeconds = (): ReadonlyMap<Candidate, number> => {
    const soonest = new Map<Candidate, number>()
    for (const one of busy) {
      const queues = new Map<string, number>()
      for (const task of ahead.filter(task => isSuitable(one.node, task))) {
        const same = models.get(task.needId)!
        const before = queues.get(same)
        const own = predicted(one, task)
        const finish = before === undefined ? one.seconds + totalSeconds(own) : before + own.executionSeconds
        queues.set(same, finish)
        soonest.set(task, Math.min(finish, soonest.get(task) ?? finish))
      }
    }
    return soonest
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
