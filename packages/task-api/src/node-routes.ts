import { drainNode, getFleet, getNode, listNodes, resumeNode } from '@comfy-balancer/contract/endpoints'
import { nodeStates } from '@comfy-balancer/contract/node'
import type { Capability } from '@comfy-balancer/domain/capability'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { NodeRecord } from '@comfy-balancer/task-store/node-record'
import { fromLedger } from './ledger-errors.ts'
import { stateOf, viewNode } from './node-view.ts'

export type NodeApiDeps = {
  readonly ledger: Ledger
  readonly capabilityOf: (node: NodeRecord) => Promise<Capability | undefined>
  /** The node that the id `self` stands for. */
  readonly self?: string
}

/** Adds what is told about nodes and the fleet. */
export const nodeRoutes = (app: App, { ledger, capabilityOf, self }: NodeApiDeps): void => {
  route(app, listNodes, async () => {
    const { nodes, nowMs } = await fromLedger(ledger.nodes.list())
    const views = nodes.map(async node => viewNode(ledger, node, await capabilityOf(node), nowMs))
    return { data: (await fromLedger(Promise.all(views))).sort((a, b) => (a.id < b.id ? -1 : 1)) }
  })

  const idOf = (param: string): string => (param === 'self' && self !== undefined ? self : param)

  const show = async (id: string) => {
    const [node, { nowMs }] = await fromLedger(Promise.all([ledger.nodes.find(id), ledger.nodes.now()]))
    if (!node) throw new Refusal('not-found', `There is no node ${id}`)
    return viewNode(ledger, node, await fromLedger(capabilityOf(node)), nowMs)
  }

  route(app, getNode, request => show(idOf(request.params.id)))

  for (const endpoint of [drainNode, resumeNode]) {
    route(app, endpoint, async request => {
      const id = idOf(request.params.id)
      const isDrained = endpoint === drainNode
      if (await fromLedger(ledger.nodes.drain(id, isDrained)))
        request.log.info({ nodeId: id }, isDrained ? 'node drained' : 'node resumed')
      return show(id)
    })
  }

  route(app, getFleet, async () => {
    const [{ nodes, nowMs }, backlog, oldestMs, queuedByModel] = await fromLedger(
      Promise.all([ledger.nodes.list(), ledger.waiting.backlog(), ledger.waiting.oldestMs(), ledger.waiting.byModel()])
    )
    const states = nodes.map(node => stateOf(ledger, node, nowMs))
    return {
      nodes: Object.fromEntries(nodeStates.map(state => [state, states.filter(one => one === state).length])),
      queued: Object.values(backlog.queuedByTenant).reduce((sum, count) => sum + count, 0),
      running: backlog.running,
      delayed: backlog.delayed,
      queuedByTenant: backlog.queuedByTenant,
      queuedByModel,
      oldestQueuedSeconds: oldestMs === undefined ? null : Math.max(0, (nowMs - oldestMs) / 1000),
      finished: backlog.finished
    }
  })
}
