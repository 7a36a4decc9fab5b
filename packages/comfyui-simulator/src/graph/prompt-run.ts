import { ClockStopped } from '../gpu/clock.ts'
import { isObject, type Json, type JsonObject } from '../json/python-json.ts'
import type { ClassTable } from '../nodes/class-table.ts'
import { AddedOutput, type NodeMachine, type NodeOutcome } from '../nodes/node-class.ts'
import type { QueueItem } from '../queue/queue-item.ts'
import type { Messenger } from '../ws/messenger.ts'
import { DynamicGraph } from './dynamic-graph.ts'
import { DependencyCycle, ExecutionList } from './execution-list.ts'
import { isOutOfMemory } from './failure.ts'
import type { Interrupts } from './interrupts.ts'
import { NodeCaller } from './node-caller.ts'
import { type InputLists, joinOutputs, joinUi, sliceInputs } from './node-results.ts'
import type { OutputCache, SignatureDeps } from './output-cache.ts'
import { RunReporter } from './run-reporter.ts'

/** What a run needs from the server around it. */
export interface PromptRunDeps {
  classes: ClassTable
  cache: OutputCache
  interrupts: Interrupts
  messenger: Messenger
  machine: NodeMachine
  /** Called before each node; may wait or throw a fault. Gives how many times slower the node is. */
  beforeNode(classType: string): Promise<number>
  /** Called once the cache has turned to this prompt. */
  afterCacheTurn(): void
  onOutOfMemory(): void
  /** Waited for after every piece of GPU work: a hanging worker never gets past it. */
  gate(): Promise<void>
}

/** How a prompt ended, as the history keeps it. */
export interface RunResult {
  isSuccess: boolean
  messages: [string, JsonObject][]
  outputs: Map<string, JsonObject>
  meta: Map<string, JsonObject>
}

type Step = 'done' | 'pending'

/** One prompt on its way through the graph. */
export class PromptRun {
  readonly #deps: PromptRunDeps
  readonly #item: QueueItem
  readonly #graph: DynamicGraph
  readonly #list: ExecutionList
  readonly #reporter: RunReporter
  readonly #caller: NodeCaller
  readonly #asyncResults = new Map<string, PromiseSettledResult<NodeOutcome[]>>()
  readonly #expansions = new Map<string, NodeOutcome[]>()
  #lists: InputLists = {}

  constructor(item: QueueItem, deps: PromptRunDeps) {
    this.#item = item
    this.#deps = deps
    this.#graph = new DynamicGraph(item.prompt)
    this.#reporter = new RunReporter(item.promptId, this.#graph, deps.messenger)
    this.#caller = new NodeCaller(item, { ...deps, graph: this.#graph, reporter: this.#reporter })
    const { classes, cache } = deps
    this.#list = new ExecutionList(this.#graph, {
      isCached: id => cache.outputsOf(id) !== undefined,
      isOutput: id => this.#graph.has(id) && classes.isOutput(this.#graph.node(id).class_type),
      isAsync: id => classes.get(this.#graph.node(id).class_type)?.behaviour.isAsync === true,
      isLazy: (id, input) => this.#isLazy(id, input)
    })
  }

  /** Runs the prompt to its end. Throws only on what kills ComfyUI's worker thread. */
  async run(): Promise<RunResult> {
    const { interrupts, messenger, cache } = this.#deps
    interrupts.clear()
    messenger.setClient(clientOf(this.#item.extraData))
    this.#reporter.started()
    cache.setPrompt(this.#graph, this.#signatureDeps())
    this.#deps.afterCacheTurn()
    const cached = Object.keys(this.#item.prompt).filter(id => cache.outputsOf(id))
    this.#reporter.cached(cached)
    for (const id of this.#item.outputs) this.#list.add(id)
    const isSuccess = await this.#loop()
    this.#reporter.over()
    return { isSuccess, messages: this.#reporter.messages, ...this.#shown() }
  }

  async #loop(): Promise<boolean> {
    while (!this.#list.isEmpty) {
      let id = ''
      try {
        id = await this.#list.next()
        await this.#deps.machine.clock.breathe()
        this.#lists = {}
        if ((await this.#step(id)) === 'done') this.#list.complete(id)
      } catch (error) {
        if (error instanceof ClockStopped) throw error
        return this.#fail(error, id)
      }
    }
    this.#reporter.succeeded()
    return true
  }

  async #step(id: string): Promise<Step> {
    if (this.#deps.cache.outputsOf(id)) return this.#showCached(id)
    const settled = this.#asyncResults.get(id)
    if (settled) return this.#finishAsync(id, settled)
    const expansion = this.#expansions.get(id)
    if (expansion) return this.#finishExpansion(id, expansion)
    return this.#start(id)
  }

  #showCached(id: string): Step {
    this.#reporter.nodeShowed(id, this.#deps.cache.uiOf(id)?.output ?? null)
    this.#reporter.nodeFinished(id)
    return 'done'
  }

  async #start(id: string): Promise<Step> {
    const { classes } = this.#deps
    const node = this.#graph.node(id)
    this.#reporter.nodeStarted(id)
    this.#lists = this.#caller.inputLists(id)
    this.#reporter.nodeExecuting(id)
    const behaviour = classes.get(node.class_type)?.behaviour
    if (!behaviour) throw new Error(`Node ${node.class_type} not found`)
    if (behaviour.neededInputs && this.#requireInputs(id, behaviour.neededInputs(sliceInputs(this.#lists, 0)))) {
      return 'pending'
    }
    const slowness = await this.#deps.beforeNode(node.class_type)
    if (behaviour.isAsync) return this.#startAsync(id, slowness)
    return this.#conclude(id, await this.#caller.call(id, this.#lists, slowness))
  }

  #startAsync(id: string, slowness: number): Step {
    const release = this.#list.holdBack(id)
    const calls = this.#caller.call(id, this.#lists, slowness)
    calls
      .then(
        value => this.#asyncResults.set(id, { status: 'fulfilled', value }),
        reason => this.#asyncResults.set(id, { status: 'rejected', reason })
      )
      .then(release)
    return 'pending'
  }

  #finishAsync(id: string, settled: PromiseSettledResult<NodeOutcome[]>): Step {
    this.#asyncResults.delete(id)
    if (settled.status === 'rejected') throw settled.reason
    return this.#conclude(id, settled.value)
  }

  #requireInputs(id: string, names: string[]): boolean {
    const missing = names.filter(name => !(name in this.#lists))
    for (const name of missing) this.#list.require(id, name)
    return missing.length > 0
  }

  #conclude(id: string, outcomes: NodeOutcome[]): Step {
    const output = joinUi(outcomes)
    if (output) this.#showUi(id, output)
    if (outcomes.some(outcome => outcome.expand)) return this.#expand(id, outcomes)
    this.#store(id, outcomes)
    return 'done'
  }

  #store(id: string, outcomes: NodeOutcome[]): void {
    const classType = this.#graph.node(id).class_type
    const flags = this.#deps.classes
      .outputTypes(classType)
      .map((_, slot) => this.#deps.classes.isListOutput(classType, slot))
    this.#deps.cache.setOutputs(id, joinOutputs(outcomes, flags))
    this.#reporter.nodeFinished(id)
    this.#reporter.executed.add(id)
  }

  #showUi(id: string, output: JsonObject): void {
    const meta = {
      node_id: id,
      display_node: this.#graph.displayOf(id),
      parent_node: this.#graph.parentOf(id),
      real_node_id: this.#graph.realOf(id)
    }
    this.#deps.cache.setUi(id, { output, meta })
    this.#reporter.nodeShowed(id, output)
  }

  #expand(id: string, outcomes: NodeOutcome[]): Step {
    const added: string[] = []
    for (const { expand } of outcomes) {
      for (const [newId, node] of Object.entries(expand ?? {})) {
        this.#graph.add(newId, node, id, this.#graph.displayOf(id))
        added.push(newId)
      }
    }
    for (const newId of added) this.#deps.cache.addNode(this.#graph, newId, this.#signatureDeps())
    this.#expansions.set(id, outcomes)
    for (const outcome of outcomes) {
      for (const output of outcome.outputs ?? [])
        if (output instanceof AddedOutput) this.#list.waitFor(output.link[0], id)
    }
    return 'pending'
  }

  #finishExpansion(id: string, outcomes: NodeOutcome[]): Step {
    this.#expansions.delete(id)
    const resolved = outcomes.map(({ outputs }) => ({
      outputs: (outputs ?? []).map(output =>
        output instanceof AddedOutput ? this.#deps.cache.outputsOf(output.link[0])?.[output.link[1]]?.[0] : output
      )
    }))
    this.#store(id, resolved)
    return 'done'
  }

  #isLazy(id: string, input: string): boolean {
    const { classes } = this.#deps
    const classType = this.#graph.node(id).class_type
    if (!classes.get(classType)?.behaviour.neededInputs) return false
    return classes.inputsOf(classType).some(spec => spec.name === input && spec.options.lazy === true)
  }

  /** A run-time cycle is reported as an error and yet kept as a success, as ComfyUI 0.3.64 does. */
  #fail(error: unknown, id: string): boolean {
    if (error instanceof DependencyCycle) {
      this.#reporter.failedByCycle(error)
      return true
    }
    if (isOutOfMemory(error)) this.#deps.onOutOfMemory()
    this.#reporter.failed({ nodeId: this.#graph.realOf(id), error, inputs: this.#lists })
    return false
  }

  #shown(): { outputs: Map<string, JsonObject>; meta: Map<string, JsonObject> } {
    const outputs = new Map<string, JsonObject>()
    const meta = new Map<string, JsonObject>()
    for (const id of this.#deps.cache.ids()) {
      const ui = this.#deps.cache.uiOf(id)
      if (!ui) continue
      outputs.set(id, ui.output)
      meta.set(id, ui.meta)
    }
    return { outputs, meta }
  }

  #signatureDeps(): SignatureDeps {
    const { classes, machine } = this.#deps
    return {
      fingerprint: id => {
        const node = this.#graph.node(id)
        return classes.get(node.class_type)?.behaviour.fingerprint?.(node.inputs, machine.folders) ?? ''
      },
      knowsItsId: id => classes.hasHidden(this.#graph.node(id).class_type, 'UNIQUE_ID')
    }
  }
}

/** The client a prompt belongs to. Throws on extra data that is no object, as Python's `in` does. */
function clientOf(extraData: Json): Json | undefined {
  if (!isObject(extraData)) throw new TypeError("argument of type 'NoneType' is not iterable")
  return extraData.client_id ?? undefined
}
