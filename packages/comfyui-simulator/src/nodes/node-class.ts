import type { Folders } from '../files/folders.ts'
import type { Clock } from '../gpu/clock.ts'
import type { ModelCatalogue } from '../gpu/model-catalogue.ts'
import type { ModelMemory } from '../gpu/model-memory.ts'
import type { Link } from '../graph/dynamic-graph.ts'
import type { Json, JsonObject } from '../json/python-json.ts'
import type { Random } from '../painting/random.ts'

/** The values of a node's inputs for one call. Links are resolved; inputs not given are absent. */
export type NodeInputs = Record<string, unknown>

/** A picture on its way to the submitter while a node works. */
export interface Preview {
  format: 'jpeg' | 'png'
  bytes: Buffer
}

/** What a call of a node gives back. With `expand`, outputs may be links to the nodes it adds. */
export interface NodeOutcome {
  outputs?: unknown[]
  ui?: Record<string, Json[]>
  expand?: Record<string, { class_type: string; inputs: JsonObject }>
}

/** A reference to an output of a node that an expansion adds. */
export class AddedOutput {
  readonly link: Link

  constructor(link: Link) {
    this.link = link
  }
}

/** The machine every node runs on. */
export interface NodeMachine {
  clock: Clock
  memory: ModelMemory
  catalogue: ModelCatalogue
  folders: Folders
  random: Random
  /** How fast the simulated GPU is; 1 is an ordinary card. */
  speed: number
  hasPreviews: boolean
}

/** What a node may use during one call. */
export interface NodeCall {
  machine: NodeMachine
  nodeId: string
  classType: string
  prompt: JsonObject
  extraData: Json
  /** The types of the class's output slots. */
  outputTypes: string[]
  /** How many times slower this node is, by a fault; 1 normally. */
  slowness: number
  /** Reports progress, with a picture where there is one. Throws when the prompt was interrupted. */
  progress(value: Json, max: Json, preview?: Preview): void
  text(text: string): void
  /** Waits simulated seconds of GPU work. */
  work(seconds: number): Promise<void>
}

/** How a node class behaves beside its `/object_info` entry. */
export interface NodeClass {
  execute(inputs: NodeInputs, call: NodeCall): NodeOutcome | Promise<NodeOutcome>
  /** An async node lets others run while it waits. */
  isAsync?: boolean
  /** The node takes all its list inputs at once. */
  takesLists?: boolean
  /** Inputs whose check the node takes over, and the check: true or the reason. All of them when `inputs` is absent. */
  validation?: { inputs?: string[]; takesTypes?: boolean; check(inputs: NodeInputs, folders: Folders): true | string }
  /** A text that changes when the node must run again although its inputs are the same. */
  fingerprint?(inputs: JsonObject, folders: Folders): string
  /** Which of its lazy inputs the node needs now. */
  neededInputs?(inputs: NodeInputs): string[]
}

/** A group of node classes by name. */
export type NodeLibrary = Record<string, NodeClass>

/** A failure inside a node, by Python's type and text. */
export class NodeError extends Error {
  readonly type: string

  constructor(type: string, message: string) {
    super(message)
    this.type = type
  }
}
