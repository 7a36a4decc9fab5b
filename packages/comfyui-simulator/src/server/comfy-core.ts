import { randomUUID } from 'node:crypto'
import type { FaultPlan } from '../faults/fault-plan.ts'
import { ClockStopped } from '../gpu/clock.ts'
import { Interrupts } from '../graph/interrupts.ts'
import { OutputCache } from '../graph/output-cache.ts'
import { PromptRun, type RunResult } from '../graph/prompt-run.ts'
import { validatePrompt } from '../graph/validation.ts'
import { isObject, type Json, type JsonObject } from '../json/python-json.ts'
import { PythonError, toFloat } from '../json/python-numbers.ts'
import { isTruthy, pythonStr, pythonTypeName } from '../json/python-text.ts'
import type { ClassTable } from '../nodes/class-table.ts'
import { NodeError, type NodeMachine } from '../nodes/node-class.ts'
import { modelNamesIn } from '../nodes/values.ts'
import { History } from '../queue/history.ts'
import { PromptQueue } from '../queue/prompt-queue.ts'
import { type QueueItem, queueTuple } from '../queue/queue-item.ts'
import type { PromptMoment } from '../simulator-options.ts'
import type { SocketHub } from '../ws/socket-hub.ts'
import type { LogBook } from './log-book.ts'

/** What one life of the server works with. */
export interface ComfyCoreDeps {
  classes: ClassTable
  machine: NodeMachine
  hub: SocketHub
  log: LogBook
  faults: FaultPlan
  /** Ends the process, or what stands for it. */
  onCrash(): void
  onRestart(): void
  onPrompt(moment: PromptMoment, promptId: string): void
}

/** The answer to `POST /prompt`. */
export type Submission =
  | { status: 200; body: { prompt_id: string; number: Json; node_errors: unknown } }
  | { status: 400; body: { error: JsonObject; node_errors: unknown } }

const secretKeys = ['auth_token_comfy_org', 'api_key_comfy_org']

/** Queue, history, cache and the one worker of a ComfyUI: everything a restart loses. */
export class ComfyCore {
  readonly queue: PromptQueue
  readonly history = new History()
  readonly interrupts = new Interrupts()
  readonly #deps: ComfyCoreDeps
  readonly #cache = new OutputCache()
  #number = 0
  #executed = 0
  #working = Promise.resolve()
  #isWorkerAlive = true
  #unloads = false
  #frees = false

  constructor(deps: ComfyCoreDeps) {
    this.#deps = deps
    this.queue = new PromptQueue({ onChange: () => deps.hub.sendStatus() })
  }

  get promptsExecuted(): number {
    return this.#executed
  }

  get isWorkerAlive(): boolean {
    return this.#isWorkerAlive
  }

  /** Starts the worker. It ends when the core is closed or a poisonous prompt kills it. */
  start(): void {
    this.#working = this.#work()
  }

  /** Stops the clock; resolves when the worker has put down what it had in hand. */
  async close(): Promise<void> {
    this.queue.close()
    this.#deps.machine.clock.stop()
    await this.#working
  }

  /** Takes the body of `POST /prompt`. Throws on what makes ComfyUI answer 500. */
  submit(body: Json): Submission {
    this.#deps.log.write('got prompt')
    const number = this.#takeNumber(body)
    if (!isObject(body) || !Object.hasOwn(body, 'prompt')) {
      if (typeof body === 'string' && body.includes('prompt')) throw new PythonError('TypeError', 'string indices')
      const text = 'No prompt provided'
      return refusal({ type: 'no_prompt', message: text, details: text, extra_info: {} }, {})
    }
    const promptId = Object.hasOwn(body, 'prompt_id') ? pythonStr(body.prompt_id as Json) : randomUUID()
    const result = validatePrompt(body.prompt as Json, body.partial_execution_targets, {
      classes: this.#deps.classes,
      folders: this.#deps.machine.folders
    })
    const extraData = extraDataOf(body)
    if (!result.isValid) {
      this.#deps.log.write(`invalid prompt: ${JSON.stringify(result.error.message)}`)
      return refusal(result.error, result.nodeErrors)
    }
    const prompt = body.prompt as JsonObject
    this.queue.put({ number, promptId, prompt, extraData, outputs: result.outputs })
    return { status: 200, body: { prompt_id: promptId, number, node_errors: result.nodeErrors } }
  }

  free(unloads: boolean, frees: boolean): void {
    this.#unloads ||= unloads
    this.#frees ||= frees
    if (unloads || frees) this.queue.wake()
  }

  #takeNumber(body: Json): QueueItem['number'] {
    if (body === null || typeof body === 'number' || typeof body === 'boolean') {
      throw new PythonError('TypeError', `argument of type '${pythonTypeName(body)}' is not iterable`)
    }
    if (isObject(body) && Object.hasOwn(body, 'number')) return toFloat(body.number as Json)
    const number = isObject(body) && isTruthy(body.front) ? -this.#number : this.#number
    this.#number++
    return number === 0 ? 0 : number
  }

  async #work(): Promise<void> {
    try {
      while (!this.queue.isClosed) {
        if (this.#unloads || this.#frees) this.#release()
        if (this.queue.hasPending) await this.#runNext()
        else await this.queue.changed()
      }
    } catch (error) {
      if (error instanceof ClockStopped || this.queue.isClosed) return
      this.#isWorkerAlive = false
      const message = error instanceof Error ? error.message : String(error)
      this.#deps.log.write('Exception in thread Thread-1 (prompt_worker):')
      this.#deps.log.write(`Traceback (most recent call last):\n${message}`)
    }
  }

  async #runNext(): Promise<void> {
    const { hub, faults, onPrompt } = this.#deps
    const taken = await this.queue.take()
    if (!taken) return
    await new Promise(resolve => setImmediate(resolve))
    await this.#meetFaults()
    const startedMs = performance.now()
    onPrompt('started', taken.item.promptId)
    const result = await this.#run(taken.item)
    if (this.queue.isClosed) return
    onPrompt('ended', taken.item.promptId)
    this.#executed++
    this.queue.done(taken.key, item => {
      if (!faults.take('lost-history')) this.history.add(item.promptId, historyEntry(item, result))
    })
    this.#deps.log.write(`Prompt executed in ${((performance.now() - startedMs) / 1000).toFixed(2)} seconds`)
    const repeats = faults.take('done-twice') ? 2 : 1
    for (let time = 0; time < repeats && hub.hasClient; time++) {
      hub.toClient('executing', { node: null, prompt_id: taken.item.promptId })
    }
  }

  async #run(item: QueueItem): Promise<RunResult> {
    const { classes, machine, hub, faults, onCrash } = this.#deps
    const run = new PromptRun(item, {
      classes,
      machine,
      messenger: hub,
      cache: this.#cache,
      interrupts: this.interrupts,
      afterCacheTurn: () => machine.memory.keepOnly(modelNamesIn(this.#cache.values())),
      onOutOfMemory: () => machine.memory.unload(),
      gate: async () => {
        if (faults.take('hang')) await machine.clock.stopped()
      },
      beforeNode: async classType => {
        if (faults.take('crash', classType)) onCrash()
        if (faults.take('hang', classType)) await machine.clock.stopped()
        if (faults.take('out-of-memory', classType)) throw outOfMemory(machine)
        return faults.take('slow-node', classType)?.factor ?? 1
      }
    })
    return run.run()
  }

  async #meetFaults(): Promise<void> {
    const { faults, hub, onRestart } = this.#deps
    if (faults.take('drop-websocket')) hub.dropAll()
    if (faults.take('restart')) {
      onRestart()
      throw new ClockStopped()
    }
    if (faults.take('dead-worker')) throw new Error("KeyError: 'inputs'")
  }

  #release(): void {
    this.#deps.machine.memory.unload()
    if (this.#frees) {
      this.#cache.clear()
      this.#deps.machine.memory.keepOnly(new Set())
    }
    this.#unloads = false
    this.#frees = false
  }
}

function refusal(error: JsonObject, nodeErrors: unknown): Submission {
  return { status: 400, body: { error, node_errors: nodeErrors } }
}

function extraDataOf(body: JsonObject): Json {
  const extraData = Object.hasOwn(body, 'extra_data') ? (body.extra_data as Json) : {}
  if (!Object.hasOwn(body, 'client_id')) return extraData
  if (!isObject(extraData)) throw new PythonError('TypeError', 'object does not support item assignment')
  extraData.client_id = body.client_id as Json
  return extraData
}

function historyEntry(item: QueueItem, result: RunResult): Parameters<History['add']>[1] {
  const [number, id, prompt, extraData, outputs] = queueTuple(item) as [Json, Json, Json, JsonObject, Json]
  const shown = Object.fromEntries(Object.entries(extraData).filter(([key]) => !secretKeys.includes(key)))
  return {
    prompt: [number, id, prompt, shown, outputs],
    outputs: result.outputs,
    status: {
      status_str: result.isSuccess ? 'success' : 'error',
      completed: result.isSuccess,
      messages: result.messages
    },
    meta: result.meta
  }
}

function outOfMemory(machine: NodeMachine): NodeError {
  const total = (machine.memory.totalBytes / 2 ** 30).toFixed(2)
  const text = `CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ${total} GiB.`
  return new NodeError('torch.OutOfMemoryError', text)
}
