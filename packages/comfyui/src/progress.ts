import { reachable } from '@comfy-balancer/domain/reachable'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import type { ComfyUiEvent } from './messages.ts'

/** How far a prompt is. `percent` never decreases and stays below 100; `value` of `max` is the graph node's own count. */
export type Progress = {
  readonly percent: number
  readonly graphNode: string | undefined
  readonly classType: string | undefined
  readonly value: number
  readonly max: number
}

/**
 * Computes progress from events: the share of the graph nodes needed for the outputs and not cached that are finished, plus the
 * fractions of those that run. `see` returns the new progress when it changed.
 */
export const createProgress = (workflow: Workflow, outputs: Iterable<string>) => {
  const todo = reachable(workflow, outputs)
  const finished = new Set<string>()
  const fractions = new Map<string, number>()
  let hasStates = false
  let current: string | undefined
  let progress: Progress = { percent: 0, graphNode: undefined, classType: undefined, value: 0, max: 0 }

  const finish = (id: string): void => {
    fractions.delete(id)
    if (todo.has(id)) finished.add(id)
  }

  const run = (id: string, value: number, max: number): void => {
    if (todo.has(id) && !finished.has(id)) fractions.set(id, max > 0 ? Math.min(1, Math.max(0, value / max)) : 0)
  }

  const update = (value: number, max: number): Progress | undefined => {
    const done = finished.size + [...fractions.values()].reduce((sum, fraction) => sum + fraction, 0)
    const share = todo.size === 0 ? 0 : Math.min(99, Math.floor((100 * done) / todo.size))
    const percent = Math.max(progress.percent, share)
    const { graphNode } = progress
    if (percent === progress.percent && graphNode === current && value === progress.value && max === progress.max) {
      return undefined
    }
    const classType = current === undefined ? undefined : workflow.graphNodes.get(current)?.classType
    progress = { percent, graphNode: current, classType, value, max }
    return progress
  }

  const enter = (id: string): void => {
    if (!hasStates && current !== undefined && current !== id) finish(current)
    current = id
  }

  return {
    current: (): string | undefined => current,
    see: (event: ComfyUiEvent): Progress | undefined => {
      switch (event.type) {
        case 'cached':
          for (const id of event.graphNodes) todo.delete(id)
          return undefined
        case 'executing':
          if (current === event.graphNode) return undefined
          enter(event.graphNode)
          return update(0, 0)
        case 'progress':
          enter(event.graphNode)
          run(event.graphNode, event.value, event.max)
          return update(event.value, event.max)
        case 'progress-state':
          hasStates = true
          for (const { id, state, value, max } of event.graphNodes) {
            if (state === 'finished') finish(id)
            else run(id, value, max)
          }
          return update(progress.value, progress.max)
        case 'executed':
          finish(event.graphNode)
          return update(progress.value, progress.max)
        default:
          return undefined
      }
    }
  }
}
