import type { Json, JsonObject } from '../json/python-json.ts'
import type { Preview } from '../nodes/node-class.ts'
import type { Messenger } from '../ws/messenger.ts'
import type { DynamicGraph } from './dynamic-graph.ts'
import type { DependencyCycle } from './execution-list.ts'
import { exceptionFields, type Failure } from './failure.ts'
import { Interrupted } from './interrupts.ts'
import { PromptProgress } from './progress.ts'

/** Tells the submitter of one prompt what happens to it, in ComfyUI's messages, and keeps those for the history. */
export class RunReporter {
  readonly messages: [string, JsonObject][] = []
  readonly executed = new Set<string>()
  readonly #promptId: string
  readonly #graph: DynamicGraph
  readonly #messenger: Messenger
  readonly #progress: PromptProgress
  #isOver = false

  constructor(promptId: string, graph: DynamicGraph, messenger: Messenger) {
    this.#promptId = promptId
    this.#graph = graph
    this.#messenger = messenger
    this.#progress = new PromptProgress(promptId, graph)
  }

  started(): void {
    this.#report('execution_start', { prompt_id: this.#promptId }, false)
  }

  cached(ids: string[]): void {
    this.#report('execution_cached', { nodes: ids, prompt_id: this.#promptId }, false)
  }

  succeeded(): void {
    this.#report('execution_success', { prompt_id: this.#promptId }, false)
  }

  /** Later progress of nodes left running is not told any more. */
  over(): void {
    this.#isOver = true
    this.#messenger.setLastNode(undefined)
  }

  nodeStarted(id: string): void {
    this.#progress.start(id)
    this.#sendProgress()
  }

  nodeExecuting(id: string): void {
    if (!this.#messenger.hasClient) return
    this.#messenger.setLastNode(this.#graph.displayOf(id))
    this.#messenger.toClient('executing', this.#nodeData(id, {}))
  }

  nodeShowed(id: string, output: JsonObject | null): void {
    if (this.#messenger.hasClient) this.#messenger.toClient('executed', this.#nodeData(id, { output }))
  }

  nodeFinished(id: string): void {
    this.#progress.finish(id)
    this.#sendProgress()
  }

  nodeProgressed(id: string, value: Json, max: Json, preview: Preview | undefined): void {
    if (this.#isOver) return
    this.#progress.update(id, value, max)
    this.#sendProgress()
    const takesMetadata = this.#messenger.clientTakesMetadata
    if (preview && takesMetadata) this.#messenger.previewWithMetadata(this.#progress.place(id), preview)
    this.#messenger.toClientOrAll('progress', { value, max, prompt_id: this.#promptId, node: id })
    if (preview && !takesMetadata) this.#messenger.preview(preview)
  }

  /** A blocked node is told like an error, without a timestamp and without a trace in the history. */
  nodeBlocked(id: string, message: string): void {
    if (!this.#messenger.hasClient) return
    this.#messenger.toClient('execution_error', {
      ...this.#place(id),
      exception_message: `Execution Blocked: ${message}`,
      exception_type: 'ExecutionBlocked',
      traceback: [],
      current_inputs: [],
      current_outputs: []
    })
  }

  failed(failure: Failure): void {
    const place = this.#place(failure.nodeId)
    if (failure.error instanceof Interrupted) {
      this.#report('execution_interrupted', place, true)
      return
    }
    const fields = exceptionFields(failure, String(place.node_type))
    this.#report('execution_error', { ...place, ...fields, current_outputs: this.#graph.ids() }, false)
  }

  failedByCycle(cycle: DependencyCycle): void {
    const fields = {
      exception_message: cycle.message,
      exception_type: 'graph.DependencyCycleError',
      traceback: [],
      current_inputs: [],
      current_outputs: Object.keys(this.#graph.original)
    }
    this.#report('execution_error', { ...this.#place(cycle.blamed), ...fields }, false)
  }

  #report(event: string, data: JsonObject, isForAll: boolean): void {
    const dated = { ...data, timestamp: Date.now() }
    this.messages.push([event, dated])
    if (this.#messenger.hasClient) this.#messenger.toClient(event, dated)
    else if (isForAll) this.#messenger.toAll(event, dated)
  }

  #place(id: string): JsonObject {
    const node_type = this.#graph.node(id).class_type
    return { prompt_id: this.#promptId, node_id: id, node_type, executed: [...this.executed] }
  }

  #nodeData(id: string, data: JsonObject): JsonObject {
    return { node: id, display_node: this.#graph.displayOf(id), ...data, prompt_id: this.#promptId }
  }

  #sendProgress(): void {
    if (!this.#isOver) this.#messenger.toClientOrAll('progress_state', this.#progress.snapshot())
  }
}
