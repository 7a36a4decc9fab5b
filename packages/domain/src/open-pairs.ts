import { modelsOf } from './capability.ts'
import { heldDuring } from './held.ts'
import type { Candidate, NodeView, Situation } from './policy.ts'
import { type Prediction, predict, ratesOf, totalSeconds } from './prediction.ts'
import type { Suitability } from './suitability.ts'

/** A node and a task that may come together, and what that is predicted to take. */
export type Pair = { node: NodeView; task: Candidate; predicted: Prediction; seconds: number; score: number }

/**
 * A load is weighed against other work this many times, for what it evicts is loaded again. Large enough that a node seldom leaves a model while
 * tasks wait for it, small enough that under overload others come first when they waited that much longer (results/scheduling.md).
 */
const loadWeight = 32
/** A task counts this share of a usual one's time older than it is: among young tasks the short ones go first, however long the others are. */
const headStart = 0.25

/** The free nodes with the tasks that each may take, and whose turn it is there (rule 3): the age of a task by what it costs. */
export const openPairs = (situation: Situation, isSuitable: Suitability): Pair[] => {
  const { nodes, candidates, learned, nowMs } = situation
  const copies = copiesPerTask(situation)
  const usual = usualWork(candidates)
  return nodes
    .filter(node => node.available && !node.attempt)
    .flatMap(node => {
      const rates = memo((task: Candidate) => ratesOf(node, task.need, learned.get(task.needId)))
      return candidates
        .filter(task => isSuitable(node, task))
        .map(task => {
          const known = rates(task)
          const predicted = predict(known, task)
          const ageSeconds = Math.max(0, (nowMs - task.orderMs) / 1000) + headStart * known.secondsPerWork * usual(task)
          const effort = predicted.executionSeconds + loadWeight * predicted.loadSeconds * copies(task)
          return { node, task, predicted, seconds: totalSeconds(predicted), score: ageSeconds / effort }
        })
    })
}

/**
 * What a load for a task is for: shared by the tasks that wait for its models, but by the square of how many nodes would then hold them, for
 * those that hold them now take their part, and then find nothing left for what they hold.
 */
const copiesPerTask = ({ nodes, candidates }: Situation): ((task: Candidate) => number) => {
  const waiting = new Map<string, number>()
  const models = memo((task: Candidate) => modelsOf(task.need))
  for (const task of candidates) waiting.set(models(task).join(), (waiting.get(models(task).join()) ?? 0) + 1)
  const held = nodes.map(node => (node.attempt ? heldDuring(node, node.attempt.need) : node.resident))
  return memo((task: Candidate) => {
    const holders = held.filter(files => models(task).every(model => files.has(model))).length
    return (holders + 1) ** 2 / waiting.get(models(task).join())!
  })
}

/** The mean size of the tasks that wait with the same need. */
const usualWork = (candidates: readonly Candidate[]): ((task: Candidate) => number) =>
  memo(({ needId }) => {
    const same = candidates.filter(task => task.needId === needId)
    return same.reduce((sum, { work }) => sum + work, 0) / same.length
  })

/** Asks once for each need. */
const memo = <Value>(ask: (task: Candidate) => Value): ((task: Candidate) => Value) => {
  const known = new Map<string, Value>()
  return task => {
    const value = known.get(task.needId) ?? ask(task)
    known.set(task.needId, value)
    return value
  }
}
