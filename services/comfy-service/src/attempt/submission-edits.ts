import type { Edits } from '@comfy-balancer/comfyui/graph'
import type { Capability } from '@comfy-balancer/domain/capability'
import type { GraphNode, Workflow } from '@comfy-balancer/domain/workflow'

/** How each output graph node is made unique to the attempt, so that a cached run never reports another run's file. */
export const marksOf = (workflow: Workflow, outputs: readonly string[]): Edits['marks'] =>
  new Map(
    outputs.map(id => {
      const prefix = workflow.graphNodes.get(id)?.inputs.filename_prefix
      return [id, prefix?.kind === 'literal' && typeof prefix.value === 'string' ? 'prefix' : 'mark']
    })
  )

/** The node's own spelling of option values where the caller's differs from it, such as the path separators of a model. */
export const spellingsOf = (workflow: Workflow, capability: Capability): NonNullable<Edits['values']> =>
  new Map(
    [...workflow.graphNodes.values()].flatMap(graphNode => {
      const changed = changedIn(graphNode, capability)
      return changed.size > 0 ? [[graphNode.id, changed] as const] : []
    })
  )

const changedIn = (graphNode: GraphNode, capability: Capability): Map<string, string> =>
  new Map(
    Object.entries(graphNode.inputs).flatMap(([input, literal]) => {
      if (literal.kind !== 'literal' || typeof literal.value !== 'string') return []
      const own = capability.spelling({ classType: graphNode.classType, input, value: literal.value })
      return own !== undefined && own !== literal.value ? [[input, own] as const] : []
    })
  )

/** The graph nodes that load models: those with a model among their values. */
export const loadersOf = (
  workflow: Workflow,
  models: readonly { readonly classType: string; readonly value: string }[]
): Set<string> =>
  new Set(
    [...workflow.graphNodes.values()]
      .filter(graphNode =>
        Object.values(graphNode.inputs).some(
          input =>
            input.kind === 'literal' &&
            models.some(model => model.classType === graphNode.classType && model.value === input.value)
        )
      )
      .map(graphNode => graphNode.id)
  )
