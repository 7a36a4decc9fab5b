import { randomUUID } from 'node:crypto'
import { type Assignment, assign, type NodeView } from '@comfy-balancer/domain/policy'
import type { Learned } from '@comfy-balancer/domain/prediction'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { ClaimAnswer } from '@comfy-balancer/task-store/attempts'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { NodeRecord } from '@comfy-balancer/task-store/node-record'
import type { Look } from '@comfy-balancer/task-store/waiting'
import type { NodeRegistry } from './node-registry.ts'
import { type DispatchTally, noTally } from './tally.ts'

export type DispatcherDeps = {
  readonly ledger: Ledger
  readonly registry: NodeRegistry
  readonly log: Log
  /** Dispatches to this node alone: a comfy-service without a balancer. */
  readonly onlyNode?: string
  readonly random?: () => number
  /** Called after each look that got through; not when it found work and nothing of it was taken. */
  readonly onWell?: () => void
  readonly tally?: DispatchTally
}

const nothing = { claimed: 0, mayFindMore: false }
/** How many rounds one wake-up may take before the loop yields; each gives every free node at most one task. */
const maxRounds = 20
/** Durations change slowly: what was learned is read again after so long. So many needs are kept. */
const learnedMs = 1_000
const maxLearned = 5_000
/** A look asks for the queues of so many models that nodes were seen to hold. */
const maxResident = 256

/**
 * Chooses nodes for waiting tasks and claims their slots until nothing more can be placed. Losing a race to another balancer is an
 * answer: the next round looks again. Resolves with the number of tasks dispatched.
 */
export const createDispatcher = (deps: DispatcherDeps) => {
  const { ledger, registry, log, onlyNode, random = Math.random, onWell, tally = noTally } = deps
  /** Places what it can. Answers how many were placed, and whether another look may find more. */
  const round = async (): Promise<{ claimed: number; mayFindMore: boolean }> => {
    const beganMs = performance.now()
    const look = await ledger.waiting.look(resident)
    if (look.candidates.length === 0) return nothing
    const views = await registry.views(look.nodes, look.nowMs)
    const nodes = onlyNode === undefined ? views : views.filter(node => node.id === onlyNode)
    resident = [...new Set(nodes.flatMap(node => [...node.resident]))].slice(0, maxResident)
    const free = nodes.filter(node => node.available && !node.attempt).length
    if (free === 0) return nothing
    const assignments = assign({ ...look, nodes, learned: await learnedFor(look), random })
    const answers = await Promise.all(assignments.map(one => commit(one, look.nodes, nodes)))
    if (answers.length > 0) tally.decided((performance.now() - beganMs) / 1_000)
    for (const answer of answers) tally.answered(answer)
    const claimed = answers.filter(answer => answer === 'claimed').length
    return { claimed, mayFindMore: answers.length > 0 && claimed < Math.min(free, look.waiting) }
  }

  let resident: readonly string[] = []
  const learned = new Map<string, { readonly atMs: number; readonly durations: Learned }>()

  const learnedOf = async (needId: string): Promise<Learned> => {
    const known = learned.get(needId)
    if (known && performance.now() - known.atMs < learnedMs) return known.durations
    const durations = await ledger.waiting.learned(needId)
    if (learned.size >= maxLearned) learned.clear()
    learned.set(needId, { atMs: performance.now(), durations })
    return durations
  }

  const learnedFor = async ({ candidates }: Look): Promise<Map<string, Learned>> => {
    const ids = [...new Set(candidates.map(task => task.needId))]
    return new Map(await Promise.all(ids.map(async id => [id, await learnedOf(id)] as const)))
  }

  const commit = async (
    chosen: Assignment,
    records: readonly NodeRecord[],
    nodes: readonly NodeView[]
  ): Promise<ClaimAnswer> => {
    const { node, task, predicted, score, runnerUp, overtakes } = chosen
    const predictedSeconds = predicted.loadSeconds + predicted.executionSeconds
    const why = {
      ...predicted,
      score: Number(score.toFixed(3)),
      ...(runnerUp ? { runnerUp } : {}),
      nodes: nodes.length
    }
    const answer = await ledger.attempts.claim({
      node,
      epoch: records.find(({ id }) => id === node)?.epoch ?? '',
      task,
      nonce: randomUUID().replaceAll('-', ''),
      predictedSeconds,
      why,
      overtakes
    })
    if (answer === 'claimed') log.info({ taskId: task, nodeId: node, ...why }, 'task dispatched')
    else log.debug({ taskId: task, nodeId: node, answer }, 'claim not taken')
    return answer
  }

  return async (signal?: AbortSignal): Promise<number> => {
    let dispatched = 0
    for (let i = 0; i < maxRounds && !signal?.aborted; i++) {
      const { claimed, mayFindMore } = await round()
      if (claimed > 0 || !mayFindMore) onWell?.()
      dispatched += claimed
      if (!mayFindMore) break
    }
    return dispatched
  }
}
