import { getTaskTimeline } from '@comfy-balancer/contract/endpoints/tasks'
import type { Need } from '@comfy-balancer/contract/need'
import type { DispatchChoice, TaskTimeline, WaitingFor } from '@comfy-balancer/contract/task-timeline'
import { hasLabels, lacking, modelsOf } from '@comfy-balancer/domain/capability'
import { shownState } from '@comfy-balancer/domain/task-state'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import { route } from '@comfy-balancer/service-kit/route'
import type { App } from '@comfy-balancer/service-kit/server'
import type { FoundTask } from '@comfy-balancer/task-store/tasks'
import type { TaskApiDeps } from './deps.ts'
import { findTask } from './find-task.ts'
import { fromLedger } from './ledger-errors.ts'
import { stateOf } from './node-view.ts'

const maxGraphNodes = 500

/** Adds a task's story for people: its journal, why it went where it went, what it waits for, its graph. */
export const timelineRoute = (app: App, deps: TaskApiDeps): void => {
  const { ledger } = deps
  route(app, getTaskTimeline, async request => {
    const record = await findTask(deps, request.caller, request.params.id)
    const [events, body, need] = await fromLedger(
      Promise.all([ledger.tasks.journal(record.id, 0), ledger.tasks.body(record.id), ledger.waiting.need(record.need)])
    )
    return {
      tenant: record.tenant,
      models: need ? modelsOf(need) : [],
      events,
      choice: choiceOf(record.why),
      waitingFor: need && shownState(record.state) === 'queued' ? await waitingFor(deps, record, need) : null,
      graph: body === undefined ? [] : graphOf(deps.readGraph(JSON.parse(body).prompt))
    }
  })
}

const choiceOf = (why: unknown): DispatchChoice | null => {
  const choice = why as Partial<DispatchChoice> | null
  if (typeof choice?.score !== 'number') return null
  const { loadSeconds = 0, executionSeconds = 0, score, runnerUp = null, nodes = 0 } = choice
  return { loadSeconds, executionSeconds, score, runnerUp, nodes }
}

const waitingFor = async (deps: TaskApiDeps, record: FoundTask, need: Need): Promise<WaitingFor> => {
  const { ledger } = deps
  const [known, { nodes, nowMs }] = await fromLedger(Promise.all([deps.knownNodes(), ledger.nodes.list()]))
  const able = new Set(
    known.filter(one => hasLabels(need, one.labels) && lacking(need, one.capability).length === 0).map(({ id }) => id)
  )
  const doing = nodes
    .filter(({ id }) => able.has(id))
    .map(node => {
      if (stateOf(ledger, node, nowMs) !== 'ready' || node.intent === 'occupied') return 'away'
      return node.slot ? 'busy' : 'free'
    })
  const count = (what: string): number => doing.filter(one => one === what).length
  return { ahead: record.standing.before, free: count('free'), busy: count('busy'), away: count('away') }
}

const graphOf = (read: { workflow: Workflow } | { flaws: unknown }): TaskTimeline['graph'] => {
  if (!('workflow' in read)) return []
  return [...read.workflow.graphNodes.values()].slice(0, maxGraphNodes).map(({ id, classType, title, inputs }) => ({
    id,
    classType,
    title: title ?? null,
    from: [...new Set(Object.values(inputs).flatMap(input => (input.kind === 'link' ? [input.graphNode] : [])))]
  }))
}
