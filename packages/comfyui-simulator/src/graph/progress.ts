import { PythonFloat } from '../json/python-float.ts'
import type { Json, JsonObject } from '../json/python-json.ts'
import type { DynamicGraph } from './dynamic-graph.ts'

interface NodeProgress {
  state: 'running' | 'finished'
  value: Json
  max: Json
}

/** How far each node of one prompt is; `snapshot` is the data of a `progress_state` message. */
export class PromptProgress {
  readonly #promptId: string
  readonly #graph: DynamicGraph
  readonly #nodes = new Map<string, NodeProgress>()

  constructor(promptId: string, graph: DynamicGraph) {
    this.#promptId = promptId
    this.#graph = graph
  }

  start(id: string): void {
    this.#nodes.set(id, { state: 'running', value: new PythonFloat(0), max: new PythonFloat(1) })
  }

  update(id: string, value: Json, max: Json): void {
    this.#nodes.set(id, { state: 'running', value, max })
  }

  finish(id: string): void {
    const max = this.#nodes.get(id)?.max ?? 1
    this.#nodes.set(id, { state: 'finished', value: max, max })
  }

  snapshot(): { prompt_id: string; nodes: Map<string, JsonObject> } {
    const nodes = new Map<string, JsonObject>()
    for (const [id, { value, max, state }] of this.#nodes) nodes.set(id, { value, max, state, ...this.place(id) })
    return { prompt_id: this.#promptId, nodes }
  }

  /** The fields that tell which node of which prompt something belongs to. */
  place(id: string): JsonObject {
    return {
      node_id: id,
      prompt_id: this.#promptId,
      display_node_id: this.#graph.displayOf(id),
      parent_node_id: this.#graph.parentOf(id),
      real_node_id: this.#graph.realOf(id)
    }
  }
}
