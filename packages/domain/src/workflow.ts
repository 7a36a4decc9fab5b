/** A value in a graph node's input: a link to another graph node's output, or a literal. */
export type GraphInput =
  | { readonly kind: 'link'; readonly graphNode: string; readonly slot: number }
  | { readonly kind: 'literal'; readonly value: unknown }

/** One node of a ComfyUI graph, never a machine. */
export type GraphNode = {
  readonly id: string
  readonly classType: string
  readonly title: string | undefined
  readonly inputs: Readonly<Record<string, GraphInput>>
}

/** A ComfyUI graph as the rules see it. Numbers are rounded to doubles here; the text that is sent keeps its digits. */
export type Workflow = { readonly graphNodes: ReadonlyMap<string, GraphNode> }

/** A flaw of a request: where it is (JSON Pointer into the body), its kind, and what to do about it. */
export type Flaw = { readonly pointer: string; readonly code: string; readonly detail: string }
