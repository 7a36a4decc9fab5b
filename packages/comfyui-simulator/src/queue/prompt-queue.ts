import { heapify, heapPop, heapPush } from './python-heap.ts'
import { isBefore, type QueueItem, queueTuple } from './queue-item.ts'

/** What the queue tells its server: something changed that `status` messages report. */
export interface PromptQueueDeps {
  onChange(): void
}

/** Pending prompts in a Python heap and the ones the worker took. Waiting for work ends with `close`. */
export class PromptQueue {
  readonly #deps: PromptQueueDeps
  readonly #pending: QueueItem[] = []
  readonly #running = new Map<number, QueueItem>()
  #counter = 0
  #wake: (() => void) | undefined
  #closed = false

  constructor(deps: PromptQueueDeps) {
    this.#deps = deps
  }

  get remaining(): number {
    return this.#pending.length + this.#running.size
  }

  /** Adds a prompt. Throws when an equal number and id is pending already; the prompt is in the heap all the same. */
  put(item: QueueItem): void {
    heapPush(this.#pending, item, isBefore)
    this.#deps.onChange()
    this.#wake?.()
  }

  /** Waits for a prompt and takes it; undefined once closed. Throws when the heap cannot be compared. */
  async take(): Promise<{ key: number; item: QueueItem } | undefined> {
    while (this.#pending.length === 0 && !this.#closed) await this.changed()
    if (this.#closed) return undefined
    const item = heapPop(this.#pending, isBefore) as QueueItem
    const key = this.#counter++
    this.#running.set(key, item)
    this.#deps.onChange()
    return { key, item }
  }

  /** Resolves when something was put, woken or closed. */
  changed(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve
    })
  }

  get hasPending(): boolean {
    return this.#pending.length > 0
  }

  get isClosed(): boolean {
    return this.#closed
  }

  wake(): void {
    this.#wake?.()
  }

  done(key: number, record: (item: QueueItem) => void): void {
    const item = this.#running.get(key)
    this.#running.delete(key)
    if (item) record(item)
    this.#deps.onChange()
  }

  isRunning(promptId: string): boolean {
    return [...this.#running.values()].some(item => item.promptId === promptId)
  }

  clear(): void {
    this.#pending.length = 0
    this.#deps.onChange()
  }

  /** Removes the first pending prompt with this id; the last one of all announces itself twice, as in ComfyUI. */
  delete(promptId: string): boolean {
    const index = this.#pending.findIndex(item => item.promptId === promptId)
    if (index < 0) return false
    if (this.#pending.length === 1) {
      this.clear()
    } else {
      this.#pending.splice(index, 1)
      heapify(this.#pending, isBefore)
    }
    this.#deps.onChange()
    return true
  }

  snapshot(): { queue_running: unknown[]; queue_pending: unknown[] } {
    return {
      queue_running: [...this.#running.values()].map(queueTuple),
      queue_pending: this.#pending.map(queueTuple)
    }
  }

  close(): void {
    this.#closed = true
    this.#wake?.()
  }
}
