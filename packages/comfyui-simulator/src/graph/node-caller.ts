import type { ClassTable } from '../nodes/class-table.ts'
import type { NodeCall, NodeMachine, NodeOutcome } from '../nodes/node-class.ts'
import type { QueueItem } from '../queue/queue-item.ts'
import type { Messenger } from '../ws/messenger.ts'
import { type DynamicGraph, isLink } from './dynamic-graph.ts'
import { ExecutionBlocker } from './execution-blocker.ts'
import type { Interrupts } from './interrupts.ts'
import { blockerIn, callCount, type InputLists, sliceInputs } from './node-results.ts'
import type { OutputCache } from './output-cache.ts'
import type { RunReporter } from './run-reporter.ts'

/** What calling nodes needs. */
export interface NodeCallerDeps {
  graph: DynamicGraph
  reporter: RunReporter
  classes: ClassTable
  cache: OutputCache
  interrupts: Interrupts
  messenger: Messenger
  machine: NodeMachine
  /** Waited for after every piece of GPU work: a hanging worker never gets past it. */
  gate(): Promise<void>
}

/** Gathers the inputs of a prompt's nodes and calls their behaviour. */
export class NodeCaller {
  readonly #item: QueueItem
  readonly #deps: NodeCallerDeps
  readonly #graph: DynamicGraph
  readonly #reporter: RunReporter

  constructor(item: QueueItem, deps: NodeCallerDeps) {
    this.#item = item
    this.#deps = deps
    this.#graph = deps.graph
    this.#reporter = deps.reporter
  }

  /** The values of a node's inputs, those of links from the cache. */
  inputLists(id: string): InputLists {
    const node = this.#graph.node(id)
    const lists: InputLists = {}
    for (const [name, value] of Object.entries(node.inputs)) {
      if (!isLink(value)) {
        lists[name] = [value]
        continue
      }
      const values = this.#deps.cache.outputsOf(value[0])?.[value[1]]
      if (values) lists[name] = values
    }
    return lists
  }

  /** Calls a node once for each of its lists' places, or once with all lists. Throws what the node throws, and interrupts. */
  async call(id: string, lists: InputLists, slowness: number): Promise<NodeOutcome[]> {
    const { classes, interrupts } = this.#deps
    const node = this.#graph.node(id)
    const { behaviour } = classes.get(node.class_type) as NonNullable<ReturnType<ClassTable['get']>>
    const call = this.#callOf(id, node.class_type, slowness)
    if (behaviour.takesLists) {
      interrupts.check()
      return [await behaviour.execute(lists, call)]
    }
    const outcomes: NodeOutcome[] = []
    for (let index = 0; index < callCount(lists); index++) {
      const inputs = sliceInputs(lists, index)
      const blocker = blockerIn(inputs)
      if (blocker) {
        outcomes.push(this.#blocked(id, blocker))
        continue
      }
      interrupts.check()
      outcomes.push(await behaviour.execute(inputs, call))
    }
    return outcomes
  }

  #blocked(id: string, blocker: ExecutionBlocker): NodeOutcome {
    const classType = this.#graph.node(id).class_type
    if (blocker.message !== undefined) this.#reporter.nodeBlocked(id, blocker.message)
    return { outputs: this.#deps.classes.outputTypes(classType).map(() => new ExecutionBlocker()) }
  }

  #callOf(id: string, classType: string, slowness: number): NodeCall {
    const { machine, messenger, interrupts } = this.#deps
    return {
      machine,
      nodeId: id,
      classType,
      prompt: this.#item.prompt,
      extraData: this.#item.extraData,
      outputTypes: this.#deps.classes
        .outputTypes(classType)
        .map(type => (Array.isArray(type) ? 'COMBO' : String(type))),
      slowness,
      work: async seconds => {
        await machine.clock.sleep((seconds * slowness) / machine.speed)
        await this.#deps.gate()
      },
      text: text => messenger.text(id, text),
      progress: (value, max, preview) => {
        interrupts.check()
        this.#reporter.nodeProgressed(id, value, max, preview)
      }
    }
  }
}
