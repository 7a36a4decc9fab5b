import { randomUUID } from 'node:crypto'
import { getFleet } from '@comfy-balancer/contract/endpoints/fleet'
import { drainNode, getNode, listNodes, restartNode, resumeNode } from '@comfy-balancer/contract/endpoints/nodes'
import { type Node, nodeStates } from '@comfy-balancer/contract/node'
import type { Capability } from '@comfy-balancer/domain/capability'
import type { Caller } from '@comfy-balancer/service-kit/caller'
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
  const view = async (node: NodeRecord, nowMs: number, caller: Caller): Promise<Node> => {
    const seen = viewNode(ledger, node, await capabilityOf(node), nowMs)
    if (!seen.attempt || (await isShown(ledger, seen.attempt.task, caller))) return seen
    return { ...seen, attempt: { ...seen.attempt, task: null } }
  }

  route(app, listNodes, async ({ caller }) => {
    const { nodes, nowMs } = await fromLedger(ledger.nodes.list())
    const views = nodes.map(node => view(node, nowMs, caller))
    return { data: (await fromLedger(Promise.all(views))).sort((a, b) => (a.id < b.id ? -1 : 1)) }
  })

  const idOf = (param: string): string => (param === 'self' && self !== undefined ? self : param)

  const show = async (id: string, caller: Caller): Promise<Node> => {
    const [node, { nowMs }] = await fromLedger(Promise.all([ledger.nodes.find(id), ledger.nodes.now()]))
    if (!node) throw new Refusal('not-found', `There is no node ${id}`)
    return fromLedger(view(node, nowMs, caller))
  }

  route(app, getNode, request => show(idOf(request.params.id), request.caller))

  for (const endpoint of [drainNode, resumeNode]) {
    route(app, endpoint, async request => {
      const id = idOf(request.params.id)
      const isDrained = endpoint === drainNode
      if (await fromLedger(ledger.nodes.drain(id, isDrained)))
        request.log.info({ nodeId: id }, isDrained ? 'node drained' : 'node resumed')
      return show(id, request.caller)
    })
  }

  route(app, restartNode, async request => {
    const id = idOf(request.params.id)
    const node = await fromLedger(ledger.nodes.find(id))
    if (node && !node.report.comfyui.care?.owned) {
      throw new Refusal(
        'comfyui-not-owned',
        `The comfy-service of ${id} did not start its ComfyUI: set COMFYUI_COMMAND there, or drain the node and restart it yourself`
      )
    }
    if (await fromLedger(ledger.nodes.wishRestart(id, randomUUID())))
      request.log.info({ nodeId: id }, 'restart of comfyui wished')
    return show(id, request.caller)
  })

  route(app, getFleet, async ({ caller }) => {
    const [{ nodes, nowMs }, backlog, oldestMs, queuedByModel] = await fromLedger(
      Promise.all([ledger.nodes.list(), ledger.waiting.backlog(), ledger.waiting.oldestMs(), ledger.waiting.byModel()])
    )
    const states = nodes.map(node => stateOf(ledger, node, nowMs))
    return {
      nodes: Object.fromEntries(nodeStates.map(state => [state, states.filter(one => one === state).length])),
      queued: Object.values(backlog.queuedByTenant).reduce((sum, count) => sum + count, 0),
      running: backlog.running,
      delayed: backlog.delayed,
      queuedByTenant: caller.may('admin') ? backlog.queuedByTenant : ownOf(backlog.queuedByTenant, caller),
      queuedByModel,
      oldestQueuedSeconds: oldestMs === undefined ? null : Math.max(0, (nowMs - oldestMs) / 1000),
      finished: backlog.finished
    }
  })
}

/** Tasks of others are seen by operators alone. */
const isShown = async ({ tasks }: Ledger, task: string | null, caller: Caller): Promise<boolean> =>
  caller.may('admin') || task === null || (await tasks.find(task, caller.tenant)) !== undefined

const ownOf = (counts: Readonly<Record<string, number>>, { tenant }: Caller): Record<string, number> =>
  Object.fromEntries(Object.entries(counts).filter(([name]) => name === tenant))
