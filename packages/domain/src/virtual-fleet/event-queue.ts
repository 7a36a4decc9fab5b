/** What is to happen, in order of time; what happens at one time in the order in which it was added. A binary heap. */
export class EventQueue<What> {
  #heap: { atMs: number; order: number; what: What }[] = []
  #added = 0

  add(atMs: number, what: What): void {
    const heap = this.#heap
    const event = { atMs, order: this.#added++, what }
    let at = heap.push(event) - 1
    while (at > 0 && isBefore(event, heap[(at - 1) >> 1]!)) {
      heap[at] = heap[(at - 1) >> 1]!
      at = (at - 1) >> 1
    }
    heap[at] = event
  }

  /** Takes out everything that happens next, at one time. */
  next(): { readonly atMs: number; readonly what: readonly What[] } | undefined {
    const atMs = this.#heap[0]?.atMs
    if (atMs === undefined) return undefined
    const what: What[] = []
    while (this.#heap[0]?.atMs === atMs) what.push(this.#take())
    return { atMs, what }
  }

  #take(): What {
    const heap = this.#heap
    const first = heap[0]!
    const last = heap.pop()!
    if (heap.length > 0) this.#sink(last)
    return first.what
  }

  #sink(event: { atMs: number; order: number; what: What }): void {
    const heap = this.#heap
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, event)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = event
  }
}

type When = { readonly atMs: number; readonly order: number }
const isBefore = (a: When, b: When): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
