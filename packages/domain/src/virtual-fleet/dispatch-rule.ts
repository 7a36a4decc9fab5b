import { createCapability, modelsOf } from '../capability.ts'
import { etaSeconds, type NodeAhead, needsAhead, type Usual } from '../eta.ts'
import { type Assignment, assign, type Candidate, type NodeView, type Situation } from '../policy.ts'
import { type Learned, learn, noDurations, noPace, type Pace, type Prediction, totalSeconds } from '../prediction.ts'
import { BoundedLook } from './bounded-look.ts'
import { FairPlaces } from './fair-places.ts'
import type { HandOver, Rule, VirtualFleet } from './simulate.ts'
import type { VirtualJob } from './virtual-job.ts'
import { ordinaryBytes, type VirtualNode } from './virtual-node.ts'

export type DispatchOptions = {
  readonly models: readonly string[]
  /** 6 GB each when left out. */
  readonly modelBytes?: (model: string) => number
  readonly random: () => number
  /** Of tenants that weigh something else than 1. */
  readonly weights?: Readonly<Record<string, number>>
  /** What is known of each model's need; learned from the runs when left out. */
  readonly known?: ReadonlyMap<string, Learned>
  readonly onRound?: (situation: Situation, chosen: readonly Assignment[]) => void
}

/** Dispatchers look this often although nothing happened; in virtual time it changes little and costs much to do it every 250 ms. */
const tickMs = 1_000
/** A dead process is noticed by its refused connections, a dead machine by its lease (dispatch.md): the slower of both. */
const leaseMs = 5_000

/** The very policy, with the ledger's books around it: places of tenants, bounded looks, learned durations, slots. */
export const createDispatchRule = (options: DispatchOptions): Rule => {
  const { models, modelBytes = ordinaryBytes, random, weights = {}, known, onRound } = options
  const places = new FairPlaces(weights)
  const queues = new BoundedLook()
  const capability = capabilityOf(models, modelBytes)
  const learned = new Map(known)
  const paces = new Map<string, Pace>()
  const graphs = new Map<string, number>()
  const candidates = new Map<string, Candidate>()
  const slots = new Map<VirtualNode, { candidate: Candidate; predicted: Prediction; claimedMs: number }>()

  const viewOf = (node: VirtualNode, nowMs: number): NodeView => {
    const slot = slots.get(node)
    const attempt = slot && {
      need: slot.candidate.need,
      elapsedSeconds: (nowMs - slot.claimedMs) / 1000,
      predictedSeconds: totalSeconds(slot.predicted)
    }
    return {
      ...blank,
      id: node.id,
      labels: { node: node.id },
      capability,
      resident: new Set(node.resident.map(fileOf)),
      pace: paces.get(node.id) ?? noPace,
      vramTotalBytes: node.vramBytes,
      vramUsedBytes: node.vramUsedBytes,
      available: node.isUp,
      attempt
    }
  }

  const withKnown = (task: Candidate, { graph = '' }: VirtualJob): Candidate => ({
    ...task,
    knownSeconds: graphs.get(graph)
  })

  const look = ({ nodes, waiting }: VirtualFleet): Candidate[] => {
    const startOf = (tenant: string) => places.flow(tenant).start
    const seen = queues.look(startOf, new Set(nodes.flatMap(node => node.resident.map(fileOf))))
    return seen.map(task => withKnown(task, waiting.get(task.id)!))
  }

  const usual = (needId: string): Usual => {
    const { load, execution } = learned.get(needId) ?? noDurations
    return { load: load.fleet, execution: execution.fleet }
  }

  const nodeAhead = (node: VirtualNode): NodeAhead => {
    const slot = slots.get(node)
    return {
      holds: new Set(slot ? modelsOf(slot.candidate.need) : node.resident.map(fileOf)),
      endsMs: slot && slot.claimedMs + totalSeconds(slot.predicted) * 1000,
      pace: paces.get(node.id) ?? noPace
    }
  }

  const claim = ({ nodes, waiting, nowMs }: VirtualFleet, chosen: Assignment): HandOver => {
    const node = nodes.find(({ id }) => id === chosen.node)!
    const candidate = candidates.get(chosen.task)!
    places.claimed(candidate.tenant, totalSeconds(chosen.predicted), chosen.overtakes)
    slots.set(node, { candidate, predicted: chosen.predicted, claimedMs: nowMs })
    return { node, job: waiting.get(chosen.task)! }
  }

  const forgetDown = (): void => {
    for (const [node, { candidate, predicted }] of slots) {
      if (node.isUp) continue
      slots.delete(node)
      places.charge(candidate.tenant, -totalSeconds(predicted))
    }
  }

  return {
    name: 'comfy-balancer',
    tickMs,
    recoversMs: leaseMs,

    decide: fleet => {
      const { nodes, nowMs } = fleet
      forgetDown()
      if (queues.size === 0 || !nodes.some(node => node.isUp && !slots.has(node))) return []
      const situation: Situation = {
        nodes: nodes.map(node => viewOf(node, nowMs)),
        candidates: look(fleet),
        flows: new Map(queues.tenants().map(tenant => [tenant, places.flow(tenant)])),
        learned,
        waiting: queues.size,
        nowMs,
        random
      }
      const chosen = assign(situation)
      onRound?.(situation, chosen)
      return chosen.map(one => claim(fleet, one))
    },

    joined: (job, { nowMs }) => {
      const candidate = candidates.get(job.id) ?? candidateOf(job, nowMs)
      candidates.set(job.id, candidate)
      if (queues.add(candidate)) places.joined(candidate.tenant)
    },

    left: job => queues.remove(candidates.get(job.id)!),

    etaSeconds: (job, fleet) => {
      const { nodes, nowMs } = fleet
      const candidate = withKnown(candidates.get(job.id)!, job)
      const others = queues.tenants().filter(tenant => tenant !== candidate.tenant)
      const place = { ...queues.standing(candidate), others: others.map(tenant => queues.count(tenant)) }
      const able = (pinnedTo: string | undefined) =>
        nodes.filter(node => node.isUp && (pinnedTo ?? node.id) === node.id).map(nodeAhead)
      return etaSeconds(candidate, place, usual(candidate.needId), {
        nowMs,
        nodes: able(undefined),
        nodesFor: () => able(job.node),
        needs: needsAhead(look(fleet), usual)
      })
    },

    ended: (job, node, spent) => {
      const slot = slots.get(node)
      slots.delete(node)
      if (!slot) return
      const { loadSeconds, executionSeconds } = spent
      places.charge(slot.candidate.tenant, loadSeconds + executionSeconds - totalSeconds(slot.predicted))
      if (known || executionSeconds === 0) return
      const { needId } = slot.candidate
      const before = {
        learned: learned.get(needId) ?? noDurations,
        pace: paces.get(node.id) ?? noPace,
        knownSeconds: graphs.get(job.graph ?? '')
      }
      const after = learn(before, node.id, job.work, spent)
      learned.set(needId, after.learned)
      paces.set(node.id, after.pace)
      if (job.graph !== undefined) graphs.set(job.graph, after.knownSeconds)
    }
  }
}

const fileOf = (model: string): string => `${model}.safetensors`

const candidateOf = (job: VirtualJob, nowMs: number): Candidate => ({
  id: job.id,
  tenant: job.tenant ?? 'default',
  needId: job.node === undefined ? job.model : `${job.model}@${job.node}`,
  need: {
    classes: ['Loader'],
    models: [{ classType: 'Loader', input: 'name', value: fileOf(job.model) }],
    files: [],
    labels: job.node === undefined ? {} : { node: job.node }
  },
  orderMs: nowMs - (job.headStartMs ?? 0),
  acceptedMs: nowMs,
  work: job.work,
  knownSeconds: undefined,
  avoid: [],
  stay: undefined,
  vramAboveBytes: undefined
})

/** Nodes that have every model. */
const capabilityOf = (models: readonly string[], modelBytes: (model: string) => number) => {
  return createCapability({
    classes: { Loader: { output: true, required: [], choices: { name: 0 }, uploads: [] } },
    lists: [models.map(fileOf)],
    modelBytes: Object.fromEntries(models.map(model => [fileOf(model), modelBytes(model)]))
  })
}

const blank = {
  gpuUuid: undefined,
  utilization: undefined,
  strained: false
}
