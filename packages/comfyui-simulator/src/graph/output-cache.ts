import { createHash } from 'node:crypto'
import { PythonFloat } from '../json/python-float.ts'
import type { Json, JsonObject } from '../json/python-json.ts'
import { stringifyPythonJson } from '../json/python-json.ts'
import { type DynamicGraph, isLink } from './dynamic-graph.ts'

/** What one executed node left behind: a list of values per output slot, and what it showed. */
export interface CachedNode {
  outputs?: unknown[][]
  ui?: { output: JsonObject; meta: JsonObject }
}

/** What makes a node's result its own beside its inputs. */
export interface SignatureDeps {
  /** A text that changes when the node must run again although its inputs are the same. */
  fingerprint(id: string): string
  /** Whether the node's id is part of its signature (it asked for UNIQUE_ID). */
  knowsItsId(id: string): boolean
}

/** ComfyUI's classic cache: results by class, inputs and ancestry; only those of the latest prompt are kept. */
export class OutputCache {
  #entries = new Map<string, CachedNode>()
  #keys = new Map<string, string>()

  /** Turns to a new prompt: results none of its nodes would give are dropped. Throws on nodes without inputs. */
  setPrompt(graph: DynamicGraph, deps: SignatureDeps): void {
    this.#keys = new Map()
    const known = new Map<string, string>()
    for (const id of graph.ids()) this.#keys.set(id, signature(graph, id, deps, known))
    const wanted = new Set(this.#keys.values())
    this.#entries = new Map([...this.#entries].filter(([key]) => wanted.has(key)))
  }

  /** Gives a node that was added during the run its place in the cache. */
  addNode(graph: DynamicGraph, id: string, deps: SignatureDeps): void {
    this.#keys.set(id, signature(graph, id, deps, new Map()))
  }

  outputsOf(id: string): unknown[][] | undefined {
    return this.#entry(id)?.outputs
  }

  uiOf(id: string): CachedNode['ui'] {
    return this.#entry(id)?.ui
  }

  setOutputs(id: string, outputs: unknown[][]): void {
    this.#change(id, { outputs })
  }

  setUi(id: string, ui: CachedNode['ui']): void {
    if (ui) this.#change(id, { ui })
  }

  ids(): string[] {
    return [...this.#keys.keys()]
  }

  /** Every value any kept result holds. */
  *values(): Iterable<unknown> {
    for (const entry of this.#entries.values()) {
      for (const slot of entry.outputs ?? []) yield* slot
    }
  }

  clear(): void {
    this.#entries.clear()
  }

  #entry(id: string): CachedNode | undefined {
    const key = this.#keys.get(id)
    return key === undefined ? undefined : this.#entries.get(key)
  }

  #change(id: string, change: CachedNode): void {
    const key = this.#keys.get(id)
    if (key !== undefined) this.#entries.set(key, { ...this.#entries.get(key), ...change })
  }
}

let nanCount = 0

function signature(graph: DynamicGraph, id: string, deps: SignatureDeps, known: Map<string, string>): string {
  const ready = known.get(id)
  if (ready !== undefined) return ready
  known.set(id, `cycle ${id}`)
  const node = graph.node(id)
  const parts = [node.class_type, deps.fingerprint(id), deps.knowsItsId(id) ? id : '']
  for (const input of Object.keys(node.inputs).sort()) {
    parts.push(input, inputSignature(graph, node.inputs[input] as Json, deps, known))
  }
  const text = createHash('sha1').update(JSON.stringify(parts)).digest('hex')
  known.set(id, text)
  return text
}

function inputSignature(graph: DynamicGraph, value: Json, deps: SignatureDeps, known: Map<string, string>): string {
  if (isLink(value)) {
    return graph.has(value[0]) ? `link ${signature(graph, value[0], deps, known)} ${value[1]}` : `nowhere ${nanCount++}`
  }
  if (value instanceof PythonFloat && Number.isNaN(value.value)) return `nan ${nanCount++}`
  return stringifyPythonJson(value)
}
