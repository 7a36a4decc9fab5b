import { isObject, type Json, type JsonObject } from '../json/python-json.ts'

/** One node of an API-format graph. */
export interface GraphNode {
  class_type: string
  inputs: JsonObject
}

/** A link to an output of another node. */
export type Link = [nodeId: string, slot: number]

/** Whether an input's value is a link, by ComfyUI's rule: a list of a text and a number. */
export function isLink(value: Json | undefined): value is Link {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === 'string' && typeof value[1] === 'number'
}

interface Origin {
  parent: string
  display: string
}

/** A prompt's graph together with the nodes that node expansion adds while it runs. */
export class DynamicGraph {
  readonly original: JsonObject
  readonly #added = new Map<string, GraphNode>()
  readonly #origins = new Map<string, Origin>()

  constructor(original: JsonObject) {
    this.original = original
  }

  has(id: string): boolean {
    return this.#added.has(id) || Object.hasOwn(this.original, id)
  }

  /** The node of an id. Throws when it has no inputs, as ComfyUI's KeyError. */
  node(id: string): GraphNode {
    const added = this.#added.get(id)
    if (added) return added
    const node = this.original[id]
    if (!isObject(node) || !isObject(node.inputs)) throw new TypeError(`'inputs' of node ${id}`)
    return node as unknown as GraphNode
  }

  add(id: string, node: GraphNode, parent: string, display: string): void {
    this.#added.set(id, node)
    this.#origins.set(id, { parent, display })
  }

  ids(): string[] {
    return [...Object.keys(this.original), ...this.#added.keys()]
  }

  parentOf(id: string): string | null {
    return this.#origins.get(id)?.parent ?? null
  }

  displayOf(id: string): string {
    return this.#origins.get(id)?.display ?? id
  }

  /** The node of the submitted graph that an added node comes from. */
  realOf(id: string): string {
    let real = id
    for (let parent = this.#origins.get(real); parent; parent = this.#origins.get(real)) real = parent.parent
    return real
  }
}
