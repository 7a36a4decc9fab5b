import type { DynamicGraph } from './dynamic-graph.ts'
import { isLink } from './dynamic-graph.ts'

/** What the list asks about nodes. */
export interface ExecutionListDeps {
  isCached(id: string): boolean
  isOutput(id: string): boolean
  isAsync(id: string): boolean
  isLazy(id: string, input: string): boolean
}

/** Found when every node left waits for another one; `blamed` is the node shown to the user. */
export class DependencyCycle extends Error {
  readonly blamed: string

  constructor(blamed: string) {
    super('Dependency cycle detected')
    this.blamed = blamed
  }
}

/** The nodes still to run, and which of them wait for which. */
export class ExecutionList {
  readonly #graph: DynamicGraph
  readonly #deps: ExecutionListDeps
  readonly #blockCount = new Map<string, number>()
  readonly #blocking = new Map<string, Set<string>>()
  #externalBlocks = 0
  #unblocked: (() => void) | undefined

  constructor(graph: DynamicGraph, deps: ExecutionListDeps) {
    this.#graph = graph
    this.#deps = deps
  }

  get isEmpty(): boolean {
    return this.#blockCount.size === 0
  }

  /** Adds a node and everything it needs that is not cached; lazy inputs only when asked for. */
  add(id: string): void {
    const ids = [id]
    const links: [string, string][] = []
    for (let next = ids.pop(); next !== undefined; next = ids.pop()) {
      if (this.#blockCount.has(next)) continue
      this.#blockCount.set(next, 0)
      this.#blocking.set(next, new Set())
      for (const [input, value] of Object.entries(this.#graph.node(next).inputs)) {
        if (!isLink(value) || this.#deps.isLazy(next, input)) continue
        if (!this.#deps.isCached(value[0])) ids.push(value[0])
        links.push([value[0], next])
      }
    }
    for (const [from, to] of links) this.#block(from, to)
  }

  /** Makes a node wait for the source of one of its lazy inputs. */
  require(id: string, input: string): void {
    const value = this.#graph.node(id).inputs[input]
    if (isLink(value)) this.waitFor(value[0], id)
  }

  /** Makes `to` wait until `from` has run. */
  waitFor(from: string, to: string): void {
    if (this.#deps.isCached(from)) return
    this.add(from)
    this.#block(from, to)
  }

  /** Keeps a node from running until the returned function is called. */
  holdBack(id: string): () => void {
    this.#externalBlocks++
    this.#blockCount.set(id, (this.#blockCount.get(id) ?? 0) + 1)
    return () => {
      this.#externalBlocks--
      this.#blockCount.set(id, (this.#blockCount.get(id) ?? 1) - 1)
      this.#unblocked?.()
    }
  }

  /** Chooses the next node that can run, waiting for held-back ones. Throws `DependencyCycle` when none ever can. */
  async next(): Promise<string> {
    let ready = this.#ready()
    while (ready.length === 0 && this.#externalBlocks > 0) {
      await new Promise<void>(resolve => {
        this.#unblocked = resolve
      })
      ready = this.#ready()
    }
    if (ready.length === 0) throw new DependencyCycle(this.#blamed())
    return this.#pick(ready)
  }

  complete(id: string): void {
    for (const waiting of this.#blocking.get(id) ?? []) {
      this.#blockCount.set(waiting, (this.#blockCount.get(waiting) ?? 1) - 1)
    }
    this.#blockCount.delete(id)
    this.#blocking.delete(id)
  }

  #block(from: string, to: string): void {
    if (this.#deps.isCached(from)) return
    const waiting = this.#blocking.get(from)
    if (!waiting || waiting.has(to)) return
    waiting.add(to)
    this.#blockCount.set(to, (this.#blockCount.get(to) ?? 0) + 1)
  }

  #ready(): string[] {
    return [...this.#blockCount].filter(([, count]) => count === 0).map(([id]) => id)
  }

  #pick(ready: string[]): string {
    const { isOutput, isAsync } = this.#deps
    const feeds = (id: string) => [...(this.#blocking.get(id) ?? [])]
    const first =
      ready.find(id => isOutput(id) || isAsync(id)) ??
      ready.find(id => feeds(id).some(isOutput)) ??
      ready.find(id => feeds(id).some(next => feeds(next).some(isOutput)))
    return first ?? (ready[0] as string)
  }

  #blamed(): string {
    const blocked = new Map([...this.#blocking].map(([id, waiting]) => [id, new Set(waiting)]))
    for (let removed = true; removed; ) {
      removed = false
      for (const [id, waiting] of blocked) {
        if ([...waiting].some(next => blocked.has(next))) continue
        blocked.delete(id)
        removed = true
      }
    }
    const cycle = [...blocked.keys()]
    const expanded = cycle.find(id => this.#graph.displayOf(id) !== id)
    return expanded === undefined ? (cycle[0] ?? '') : this.#graph.displayOf(expanded)
  }
}
