import { Worker } from 'node:worker_threads'
import type { HostAnswer, HostQuestion } from './host-worker.ts'

type Waiting = { resolve(answer: HostAnswer): void; reject(error: Error): void; timer: NodeJS.Timeout }

const firstPauseMs = 1000
const longestPauseMs = 60_000

/**
 * Asks systeminformation in a worker thread, since it blocks its thread and may hang for ever. An answer that does not come in time ends
 * the worker; the next one starts after a pause that grows from 1 s to 60 s.
 */
export class HostFigures {
  readonly #workerUrl: URL
  readonly #timeoutMs: number
  readonly #waiting = new Map<number, Waiting>()
  #worker: Worker | undefined
  #lastId = 0
  #failures = 0
  #notBeforeMs = 0

  constructor(workerUrl: URL, timeoutMs: number) {
    this.#workerUrl = workerUrl
    this.#timeoutMs = timeoutMs
  }

  /** Undefined while the worker pauses. Rejects when the worker failed, hung or was closed. */
  async ask(what: HostQuestion['what']): Promise<HostAnswer | undefined> {
    if (this.#worker === undefined && performance.now() < this.#notBeforeMs) return undefined
    const worker = this.#worker ?? this.#start()
    const id = ++this.#lastId
    const answer = await new Promise<HostAnswer>((resolve, reject) => {
      const timer = setTimeout(() => this.#giveUp(worker, `no answer within ${this.#timeoutMs} ms`), this.#timeoutMs)
      this.#waiting.set(id, { resolve, reject, timer })
      worker.postMessage({ id, what } satisfies HostQuestion)
    })
    if ('error' in answer) throw new Error(`systeminformation failed: ${answer.error}`)
    this.#failures = 0
    return answer
  }

  close(): void {
    if (this.#worker !== undefined) this.#giveUp(this.#worker, 'closed')
  }

  #start(): Worker {
    const worker = new Worker(this.#workerUrl)
    worker.unref()
    worker.on('message', (answer: HostAnswer) => this.#take(answer))
    worker.on('error', error => this.#giveUp(worker, error.message))
    worker.on('exit', code => this.#giveUp(worker, `exit ${code}`))
    this.#worker = worker
    return worker
  }

  #take(answer: HostAnswer): void {
    const waiting = this.#waiting.get(answer.id)
    if (waiting === undefined) return
    this.#waiting.delete(answer.id)
    clearTimeout(waiting.timer)
    waiting.resolve(answer)
  }

  #giveUp(worker: Worker, why: string): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    this.#notBeforeMs = performance.now() + Math.min(longestPauseMs, firstPauseMs * 2 ** this.#failures++)
    worker.removeAllListeners('message')
    void worker.terminate()
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer)
      reject(new Error(`the worker of systeminformation is given up: ${why}`))
    }
    this.#waiting.clear()
  }
}
