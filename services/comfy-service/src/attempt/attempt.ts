import { setTimeout as pause } from 'node:timers/promises'
import { cancelPrompt } from '@comfy-balancer/comfyui/cancel'
import { readRequest, submission } from '@comfy-balancer/comfyui/graph'
import { adoptPrompt, runPrompt } from '@comfy-balancer/comfyui/prompt'
import type { PromptEvent } from '@comfy-balancer/comfyui/relay'
import type { Verdict } from '@comfy-balancer/comfyui/verdict'
import type { Need } from '@comfy-balancer/contract/need'
import { problem } from '@comfy-balancer/contract/problem'
import type { Progress } from '@comfy-balancer/contract/task'
import { foldPath, modelsOf } from '@comfy-balancer/domain/capability'
import { backoffMs } from '@comfy-balancer/domain/retry'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import type { Log } from '@comfy-balancer/service-kit/log'
import { taskFolder } from '@comfy-balancer/storage/output-path'
import type { OutputStore } from '@comfy-balancer/storage/output-store'
import type { Hints } from '@comfy-balancer/task-store/hints'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { StoredOutput } from '@comfy-balancer/task-store/manifest'
import type { TaskRecord } from '@comfy-balancer/task-store/task-record'
import type { ComfyUi } from '../comfyui.ts'
import { promptIdOf } from '../prompt-id.ts'
import type { Residency } from '../residency.ts'
import { type Collector, createCollector, isComfyUiFault, OutputMissing } from './collector.ts'
import { type Outcome, outcomeOf } from './outcome.ts'
import { createProgressTeller } from './progress-teller.ts'
import { createStopwatch, type Stopwatch } from './stopwatch.ts'
import { loadersOf, marksOf, spellingsOf } from './submission-edits.ts'

export type AttemptDeps = {
  readonly ledger: Ledger
  readonly hints: Hints
  readonly comfyui: ComfyUi
  readonly residency: Residency
  readonly store: OutputStore
  readonly log: Log
  readonly node: string
  readonly maxOutputBytes: number
}

/** Why the attempt must end without a result: `cancelled` and `lost` were decided in the ledger, `drained` by this service. */
export type AbandonReason = 'cancelled' | 'lost' | 'drained'

/** ComfyUI may freeze while it loads a model; a prompt that it listed so recently counts as being worked on. */
const listedWithinMs = 15_000
/** How long ComfyUI is given to let go of a prompt before it is left to the node's agent. */
const cancelMs = 60_000
/** A result is kept for so long while Redis is away. */
const settleMs = 3_600_000
const settlePauseMs = 1_000
/** Fetching and storing all outputs of one attempt. */
const collectMs = 1_800_000

type Phase = 'preparing' | 'running' | 'storing' | 'settling' | 'freeing'

/** One try of a task on this node: submit or adopt → follow → collect → settle → free. */
export class Attempt {
  readonly task: string
  readonly token: string
  readonly promptId: string
  /** Resolves when the node is free again; with false when ComfyUI did not let go of the prompt. Never rejects. */
  readonly done: Promise<boolean>
  readonly #deps: AttemptDeps
  readonly #record: TaskRecord
  readonly #log: Log
  readonly #abort = new AbortController()
  #phase: Phase = 'preparing'
  #phaseSinceMs = performance.now()
  #progress: Progress | null = null
  #reason: AbandonReason | undefined

  constructor(deps: AttemptDeps, record: TaskRecord, token: string, log: Log, adopt: boolean) {
    this.#deps = deps
    this.#record = record
    this.task = record.id
    this.token = token
    this.promptId = promptIdOf(record.id, token)
    this.#log = log
    this.done = this.#run(adopt)
  }

  /** How far it is, for the heartbeat. */
  progress(): Progress | null {
    return this.#progress
  }

  /** Whether the lease may be renewed: the work is proven, not just this process. */
  isWorking(): boolean {
    if (this.#phase !== 'running') return performance.now() - this.#phaseSinceMs < collectMs
    const listed = this.#deps.comfyui.observer.listed(this.promptId)
    if (listed === undefined) return performance.now() - this.#phaseSinceMs < listedWithinMs
    return listed.ageMs < listedWithinMs
  }

  /** Ends it without a result. After it has settled this changes nothing. */
  abandon(reason: AbandonReason): void {
    if (this.#abort.signal.aborted || this.#phase === 'settling' || this.#phase === 'freeing') return
    this.#reason = reason
    this.#abort.abort()
  }

  #enter(phase: Phase): void {
    this.#phase = phase
    this.#phaseSinceMs = performance.now()
  }

  async #run(adopt: boolean): Promise<boolean> {
    const { ledger } = this.#deps
    try {
      const [body, need] = await Promise.all([ledger.tasks.body(this.task), ledger.waiting.need(this.#record.need)])
      const read = body === undefined ? undefined : readRequest(body)
      if (body === undefined || !need || !read || 'flaws' in read)
        throw new Error('the request of the task cannot be read')
      return await this.#attempt(body, read.workflow, need, adopt)
    } catch (err) {
      this.#log.error({ err, errorSource: 'ours' }, 'attempt broke off')
      const detail = 'comfy-service failed on our side'
      await this.#settle(
        { kind: 'retry', class: 'node', problem: problem('attempts-exhausted', detail), why: detail },
        0
      ).catch(() => {})
      return this.#free(true)
    }
  }

  async #attempt(body: string, workflow: Workflow, need: Need, adopt: boolean): Promise<boolean> {
    const models = modelsOf(need)
    const hadToLoad =
      models.length > 0 && models.every(model => !this.#deps.residency.models().includes(foldPath(model)))
    const stopwatch = createStopwatch(loadersOf(workflow, need.models), hadToLoad)
    const collector = this.#collector(workflow)
    const verdict = await this.#follow({ body, workflow, models, stopwatch, collector, adopt })
    stopwatch.stop()
    const outcome = verdict.kind === 'succeeded' ? await this.#collect(collector, verdict) : outcomeOf(verdict)
    const mustCancel = verdict.kind === 'stuck' || verdict.kind === 'timed-out' || verdict.kind === 'abandoned'
    if (outcome.kind === 'succeeded') return this.#succeed(outcome.outputs, stopwatch)
    this.#abort.abort()
    await collector.idle()
    if (outcome.kind === 'retry' && outcome.class === 'out-of-memory') await this.#freeMemory()
    if (outcome.kind === 'retry' && outcome.class === 'placement') this.#deps.comfyui.distrustCatalog()
    const settled =
      outcome.kind === 'abandoned' ? this.#settleAbandoned() : this.#settle(outcome, stopwatch.spent().gpuSeconds)
    await settled
    return this.#free(mustCancel)
  }

  async #follow(run: {
    body: string
    workflow: Workflow
    models: readonly string[]
    stopwatch: Stopwatch
    collector: Collector
    adopt: boolean
  }): Promise<Verdict> {
    const { ledger, comfyui, hints, residency } = this.#deps
    const { body, workflow, stopwatch, collector } = run
    const teller = createProgressTeller(this.task, hints, this.#log)
    const listen = (event: PromptEvent): void => {
      stopwatch.see(event)
      if (event.type === 'started') this.#started(ledger, residency, run.models)
      if (event.type === 'executed') collector.executed(event.graphNode, event.output)
      if (event.type !== 'progress') return
      const { percent, graphNode, classType, value, max } = event
      this.#progress = { percent, graphNode: graphNode ?? null, classType: classType ?? null, value, max }
      teller.tell(this.#progress)
    }
    const order = {
      promptId: this.promptId,
      workflow,
      outputs: this.#record.outputs,
      timeoutMs: this.#record.timeoutSeconds * 1000,
      signal: this.#abort.signal
    }
    const deps = { http: comfyui.http, observer: comfyui.observer, log: this.#log }
    this.#enter('running')
    if (run.adopt) {
      const verdict = await adoptPrompt(deps, order, listen)
      return verdict ?? { kind: 'lost', reason: 'vanished', detail: 'ComfyUI does not know the prompt any more' }
    }
    return runPrompt(deps, { ...order, text: clientId => this.#submission(body, workflow, clientId) }, listen)
  }

  #submission(body: string, workflow: Workflow, clientId: string): string {
    const capability = this.#deps.comfyui.catalog()?.capability
    return submission(body, {
      promptId: this.promptId,
      clientId,
      prefix: `comfy-balancer/${this.token}`,
      marks: marksOf(workflow, this.#record.outputs),
      ...(capability ? { values: spellingsOf(workflow, capability) } : {})
    })
  }

  #started(ledger: Ledger, residency: Residency, models: readonly string[]): void {
    residency.ran(models)
    this.#progress ??= { percent: 0, graphNode: null, classType: null, value: null, max: null }
    this.#log.info({ promptId: this.promptId }, 'task started')
    ledger.attempts.start(this.task, this.token).catch(err => this.#log.warn({ err }, 'start not recorded'))
  }

  #collector(workflow: Workflow): Collector {
    const { comfyui, store, ledger, maxOutputBytes } = this.#deps
    const { tenant, attempt } = this.#record
    const options = {
      tenant,
      task: this.task,
      token: this.token,
      attempt,
      workflow,
      maxBytes: maxOutputBytes,
      signal: this.#abort.signal
    }
    const onStored = async (outputs: readonly StoredOutput[]) => {
      await ledger.attempts
        .output(this.task, this.token, outputs)
        .catch(err => this.#log.warn({ err }, 'output not shown yet'))
    }
    return createCollector(options, { http: comfyui.http, store, onStored })
  }

  async #collect(collector: Collector, verdict: Extract<Verdict, { kind: 'succeeded' }>): Promise<Outcome> {
    this.#enter('storing')
    try {
      const outputs = await collector.finish(verdict)
      return this.#abort.signal.aborted ? { kind: 'abandoned' } : { kind: 'succeeded', outputs }
    } catch (err) {
      if (this.#abort.signal.aborted) return { kind: 'abandoned' }
      const errorSource = isComfyUiFault(err) ? 'comfyui' : 'ours'
      const why = err instanceof Error ? err.message : String(err)
      this.#log.error({ err, errorSource }, 'output not stored')
      if (err instanceof OutputMissing) return { kind: 'failed', problem: problem('output-missing', why) }
      return {
        kind: 'retry',
        class: isComfyUiFault(err) ? 'comfyui-died' : 'node',
        problem: problem('attempts-exhausted', why),
        why
      }
    }
  }

  async #succeed(outputs: readonly StoredOutput[], stopwatch: Stopwatch): Promise<boolean> {
    this.#enter('settling')
    const { ledger } = this.#deps
    const spent = stopwatch.spent()
    const answer = await this.#persist(() => ledger.attempts.complete(this.task, this.token, outputs, spent))
    if (answer === 'ok') this.#log.info({ ...spent, outputs: outputs.length }, 'task succeeded')
    else await this.#discard(answer)
    return this.#free(false)
  }

  async #settle(outcome: Extract<Outcome, { kind: 'failed' | 'retry' }>, gpuSeconds: number): Promise<void> {
    this.#enter('settling')
    const { attempts } = this.#deps.ledger
    if (outcome.kind === 'failed') {
      this.#log.warn(
        { errorSource: 'comfyui', code: outcome.problem.code, reason: outcome.problem.detail },
        'task failed'
      )
      await this.#persist(() => attempts.fail(this.task, this.token, outcome.problem, gpuSeconds))
      return this.#removeOutputs()
    }
    const backoff = backoffMs(this.#record.attempt - 1, Math.random())
    const answer = await this.#persist(() =>
      attempts.retry(this.task, this.token, { class: outcome.class, exhausted: outcome.problem, backoffMs: backoff })
    )
    const errorSource = outcome.class === 'hand-back' || outcome.why.startsWith('comfy-service') ? 'ours' : 'comfyui'
    this.#log.warn({ errorSource, class: outcome.class, reason: outcome.why, answer }, 'attempt gave no result')
    await this.#removeOutputs()
  }

  /** A drained attempt goes back to its queue; of one that was cancelled or lost the ledger knows already. */
  async #settleAbandoned(): Promise<void> {
    this.#log.info({ reason: this.#reason }, 'attempt abandoned')
    if (this.#reason !== 'drained') return this.#removeOutputs()
    const why = 'the node drains'
    await this.#settle({ kind: 'retry', class: 'hand-back', problem: problem('attempts-exhausted', why), why }, 0)
  }

  async #discard(answer: string): Promise<void> {
    this.#log.warn({ answer }, 'late result refused')
    await this.#removeOutputs()
  }

  async #removeOutputs(): Promise<void> {
    const { tenant, id } = this.#record
    await this.#deps.store
      .remove(`${taskFolder({ tenant, taskId: id })}/${this.token}`)
      .catch(err => this.#log.warn({ err }, 'outputs of a lost attempt not removed'))
  }

  /** Writes to the ledger until it answers: while Redis is away the result is kept here. */
  async #persist<T>(write: () => Promise<T>): Promise<T> {
    const end = performance.now() + settleMs
    for (;;) {
      try {
        return await write()
      } catch (err) {
        if (performance.now() > end) throw err
        this.#log.warn({ err }, 'the ledger did not take the result yet')
        await pause(settlePauseMs, undefined, { ref: false })
      }
    }
  }

  async #freeMemory(): Promise<void> {
    this.#deps.residency.clear()
    await this.#deps.comfyui.http.free().catch(err => this.#log.warn({ err }, 'memory not freed'))
  }

  /** Makes sure that ComfyUI does not work on it any more, forgets it there and gives the slot back. */
  async #free(mustCancel: boolean): Promise<boolean> {
    this.#enter('freeing')
    const { http } = this.#deps.comfyui
    const gone = !mustCancel || (await cancelPrompt({ http }, this.promptId, { deadlineMs: cancelMs })) !== 'stuck'
    if (!gone)
      this.#log.error({ errorSource: 'comfyui', promptId: this.promptId }, 'comfyui does not let go of the prompt')
    await http.deleteHistory(this.promptId).catch(err => this.#log.debug({ err }, 'history not deleted'))
    await this.#deps.ledger.attempts
      .release(this.#deps.node, this.token)
      .catch(err => this.#log.warn({ err }, 'slot not released; its lease will end it'))
    return gone
  }
}
