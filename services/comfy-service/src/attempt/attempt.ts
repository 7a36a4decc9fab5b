import { cancelPrompt } from '@comfy-balancer/comfyui/cancel'
import { readRequest } from '@comfy-balancer/comfyui/graph'
import type { Verdict } from '@comfy-balancer/comfyui/verdict'
import type { Need } from '@comfy-balancer/contract/need'
import type { Progress } from '@comfy-balancer/contract/task'
import { foldPath, modelsOf } from '@comfy-balancer/domain/capability'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import type { ObjectStore } from '@comfy-balancer/storage/object-store'
import type { Hints } from '@comfy-balancer/task-store/hints'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { StoredOutput } from '@comfy-balancer/task-store/manifest'
import type { TaskAssignment } from '@comfy-balancer/task-store/nodes'
import type { ComfyUiFolders } from '../comfyui-folders.ts'
import type { InputShelf } from '../inputs/input-shelf.ts'
import type { InputValues } from '../inputs/prepare-inputs.ts'
import type { LoraCache } from '../loras/lora-cache.ts'
import { holdOn } from '../loras/prepare-loras.ts'
import { promptIdOf } from '../prompt-id.ts'
import { bringFiles } from './bring-files.ts'
import { type Collector, createCollector } from './collector.ts'
import { execute } from './execution.ts'
import { createListener, type Listener } from './listener.ts'
import { createLogTail } from './log-tail.ts'
import {
  brokenOff,
  collectingFailed,
  handedBack,
  type NoResult,
  type Outcome,
  outcomeOf,
  preparingFailed
} from './outcome.ts'
import { createRetry, type Retry, type RetryDeps } from './retry.ts'
import { createSettlement, type Settlement } from './settlement.ts'
import { createStopwatch } from './stopwatch.ts'
import { loadersOf } from './submission-edits.ts'
import type { AttemptTally } from './tally.ts'
import { createTeller, type Teller } from './teller.ts'

/** `maxOutputBytes` bounds one file; a prompt silent for `silentMs` hangs; ComfyUI has `cancelMs` to let go of one. */
export type AttemptLimits = { readonly maxOutputBytes: number; readonly silentMs: number; readonly cancelMs: number }

export type AttemptDeps = RetryDeps & {
  readonly ledger: Ledger
  readonly hints: Hints
  readonly store: ObjectStore
  /** Whether what is stored outlives this node. */
  readonly durable: boolean
  readonly shelf: InputShelf
  /** Absent where there is no models folder to put LoRAs into. */
  readonly loras: LoraCache | undefined
  readonly tally: AttemptTally
  readonly node: string
  /** ComfyUI's own folders, where they are shared. */
  readonly folders: ComfyUiFolders | undefined
  readonly limits: AttemptLimits
  /** Reports at once that ComfyUI is not fit for another attempt, before the slot is free. */
  readonly reportUnfit: (why: 'dead-worker' | 'stuck') => Promise<void>
}

/** Why the attempt must end without a result: `cancelled` and `lost` were decided in the ledger, `drained` by this service. */
export type AbandonReason = 'cancelled' | 'lost' | 'drained'

/** ComfyUI may freeze while it loads a model; a prompt that it listed so recently counts as being worked on. */
const listedWithinMs = 15_000
/** Anything but running a prompt that takes longer is no work any more: fetching and storing all outputs, above all. */
const asideMs = 1_800_000

/** Followers are told so soon of outputs; what follows within it is told with it. */
const outputsGapMs = 20

/** Of ComfyUI's log; the ledger keeps as many bytes. */
const maxLogCharacters = 65_536

type Phase = 'preparing' | 'running' | 'storing' | 'freeing' | 'settling'

/** What must be known to run it. */
type Plan = { readonly body: string; readonly workflow: Workflow; readonly need: Need }

type Prepared = Plan & { readonly inputs: InputValues }

/** One try of a task on this node: submit or adopt → follow → collect → free ComfyUI → settle → release the slot. */
export class Attempt {
  readonly task: string
  readonly token: string
  readonly promptId: string
  /** Resolves when the slot is given back; with false when ComfyUI did not let go of the prompt. Never rejects. */
  readonly done: Promise<boolean>
  readonly #deps: AttemptDeps
  readonly #assignment: TaskAssignment
  readonly #settlement: Settlement
  readonly #retry: Retry
  readonly #logTail = createLogTail(maxLogCharacters)
  readonly #abort = new AbortController()
  #phase: Phase = 'preparing'
  #phaseSinceMs = performance.now()
  #listener: Listener | undefined
  #reason: AbandonReason | undefined
  #isStuck = false
  #letGo: () => Promise<void> = async () => {}

  constructor(deps: AttemptDeps, assignment: TaskAssignment, adopt: boolean) {
    const { record, token } = assignment
    this.#deps = deps
    this.#assignment = assignment
    this.task = record.id
    this.token = token
    this.promptId = promptIdOf(record.id, token)
    this.#settlement = createSettlement(record, token, { ...deps, logText: this.#logTail.text })
    this.#retry = createRetry(assignment, this.#settlement, deps)
    this.done = this.#live(adopt)
  }

  /** How far it is, for the heartbeat. */
  progress(): Progress | null {
    return this.#listener?.progress() ?? null
  }

  /** Whether the lease may be renewed: the work is proven, not just this process. */
  isWorking(): boolean {
    if (this.#phase !== 'running') return performance.now() - this.#phaseSinceMs < asideMs
    const listed = this.#deps.comfyui.observer.listed(this.promptId)
    if (listed === undefined) return performance.now() - this.#phaseSinceMs < listedWithinMs
    return listed.ageMs < listedWithinMs
  }

  /** Whether ComfyUI still works on it although the slot is, or will be, somebody else's. */
  isInTheWay(): boolean {
    return this.#isStuck || this.#reason === 'lost'
  }

  /** Ends it without a result. Once its end is being settled this changes nothing. */
  abandon(reason: AbandonReason): void {
    if (this.#abort.signal.aborted || this.#phase === 'freeing' || this.#phase === 'settling') return
    this.#reason = reason
    this.#abort.abort()
  }

  #enter(phase: Phase): void {
    this.#phase = phase
    this.#phaseSinceMs = performance.now()
  }

  async #live(adopt: boolean): Promise<boolean> {
    const { log } = this.#deps
    try {
      await this.#run(this.#plan(), adopt)
    } catch (err) {
      log.error({ err, errorSource: 'ours' }, 'attempt broke off')
      this.#abort.abort()
      await this.#end(brokenOff, 0, true).catch(err => log.error({ err, errorSource: 'ours' }, 'attempt not settled'))
    }
    await this.#letGo().catch(err => this.#deps.log.warn({ err }, 'loras not let go'))
    await this.#giveBack()
    return !this.#isStuck
  }

  #plan(): Plan {
    const { body, need } = this.#assignment
    const read = body === undefined ? undefined : readRequest(body)
    if (body === undefined || !need || !read || 'flaws' in read) throw new Error('the request cannot be read any more')
    return { body, need, workflow: read.workflow }
  }

  async #run(plan: Plan, adopt: boolean): Promise<void> {
    if (adopt) this.#letGo = await holdOn(this.#deps)
    const inputs = adopt ? new Map() : await this.#prepare(plan)
    if ('kind' in inputs) return this.#end(inputs, 0, false)
    const models = modelsOf(plan.need)
    const { residency } = this.#deps
    const hadToLoad = models.length > 0 && models.every(model => !residency.models().includes(foldPath(model)))
    const stopwatch = createStopwatch(loadersOf(plan.workflow, plan.need.models), hadToLoad)
    const outputs = this.#outputsTeller()
    const collector = this.#collector(plan.workflow, outputs.say)
    const heard = { task: this.task, token: this.token, promptId: this.promptId, models }
    this.#listener = createListener(heard, { ...this.#deps, stopwatch, collector, logTail: this.#logTail })
    const verdict = await this.#execute({ ...plan, inputs }, adopt, this.#listener)
    stopwatch.stop()
    const outcome = verdict.kind === 'succeeded' ? await this.#collect(collector, verdict) : outcomeOf(verdict)
    outputs.stop()
    if (outcome.kind === 'succeeded') {
      this.#enter('settling')
      return this.#settlement.succeed(outcome.outputs, stopwatch.spent())
    }
    this.#abort.abort()
    if (verdict.kind === 'stuck' && verdict.reason === 'dead-worker') await this.#deps.reportUnfit('dead-worker')
    await collector.idle()
    if (outcome.kind === 'retry') await this.#retry.repairNode(outcome)
    await this.#end(outcome, stopwatch.spent().gpuSeconds, mayStillRun.has(verdict.kind))
  }

  /** Puts the files in place that come along with the workflow, or tells what came of trying. */
  async #prepare({ body, workflow }: Plan): Promise<InputValues | NoResult> {
    const { comfyui } = this.#deps
    const capability = comfyui.catalog()?.capability
    if (!capability) return new Map()
    const { outputs, tenant } = this.#assignment.record
    const errand = { body, workflow, outputs, capability, tenant, signal: this.#abort.signal }
    try {
      const { values, letGo } = await bringFiles(errand, { ...this.#deps, http: comfyui.http })
      this.#letGo = letGo
      return values
    } catch (err) {
      return this.#abort.signal.aborted ? { kind: 'abandoned' } : preparingFailed(err)
    }
  }

  async #execute(plan: Prepared, adopt: boolean, { hear }: Listener): Promise<Verdict> {
    const { outputs, timeoutSeconds } = this.#assignment.record
    const { promptId, token } = this
    const { silentMs } = this.#deps.limits
    const signal = this.#abort.signal
    this.#enter('running')
    const execution = { ...plan, promptId, token, outputs, timeoutMs: timeoutSeconds * 1_000, silentMs, signal }
    return execute(execution, adopt, this.#deps, hear)
  }

  #outputsTeller(): Teller<readonly StoredOutput[]> {
    const { ledger, log } = this.#deps
    return createTeller(outputsGapMs, outputs => ledger.attempts.output(this.task, this.token, outputs), log)
  }

  #collector(workflow: Workflow, onStored: (outputs: readonly StoredOutput[]) => void): Collector {
    const { comfyui, store, durable, limits, log } = this.#deps
    const { tenant, attempt, outputFormat: format } = this.#assignment.record
    const { task, token } = this
    const signal = this.#abort.signal
    const maxBytes = limits.maxOutputBytes
    const options = { tenant, task, token, attempt, workflow, format, maxBytes, durable, signal }
    return createCollector(options, { http: comfyui.http, store, onStored, log })
  }

  async #collect(collector: Collector, verdict: Extract<Verdict, { kind: 'succeeded' }>): Promise<Outcome> {
    this.#enter('storing')
    try {
      const outputs = await collector.finish(verdict)
      return this.#abort.signal.aborted ? { kind: 'abandoned' } : { kind: 'succeeded', outputs }
    } catch (err) {
      if (this.#abort.signal.aborted) return { kind: 'abandoned' }
      const outcome = collectingFailed(err)
      const errorSource = outcome.kind === 'retry' ? outcome.errorSource : 'comfyui'
      this.#deps.log.error({ err, errorSource }, 'output not stored')
      return outcome
    }
  }

  /**
   * ComfyUI is freed before the slot is. Only a draining node, which nobody gives a task any more, hands its task back first: it may be
   * killed any moment.
   */
  async #end(outcome: NoResult, gpuSeconds: number, mayRun: boolean): Promise<void> {
    this.#enter('freeing')
    const isDrained = outcome.kind === 'abandoned' && this.#reason === 'drained'
    if (outcome.kind === 'abandoned') this.#deps.log.info({ reason: this.#reason }, 'attempt abandoned')
    if (isDrained) await this.#settlement.sendBack(handedBack)
    if (mayRun) await this.#stopPrompt()
    this.#enter('settling')
    if (outcome.kind === 'failed') return this.#settlement.fail(outcome, gpuSeconds)
    if (outcome.kind === 'retry') return this.#retry.sendBack(outcome, gpuSeconds)
    if (isDrained) return
    this.#deps.tally.ended(this.#reason === 'cancelled' ? 'cancelled' : 'lost')
    await this.#settlement.removeOutputs()
  }

  async #stopPrompt(): Promise<void> {
    const { comfyui, limits, log, reportUnfit } = this.#deps
    const outcome = await cancelPrompt({ http: comfyui.http }, this.promptId, { deadlineMs: limits.cancelMs })
    if (outcome !== 'stuck') return
    this.#isStuck = true
    log.error({ errorSource: 'comfyui', promptId: this.promptId }, 'comfyui does not let go of the prompt')
    await reportUnfit('stuck')
  }

  /** Settling an attempt that still counted has emptied the slot. */
  async #giveBack(): Promise<void> {
    const { comfyui, folders, ledger, log, node } = this.#deps
    comfyui.forget(this.promptId)
    if (!this.#isStuck)
      folders?.removeOutputs(this.token).catch(err => log.warn({ err }, 'files of comfyui not removed'))
    if (this.#settlement.hasEmptiedSlot()) return
    await ledger.attempts
      .release(node, this.token)
      .catch(err => log.warn({ err }, 'slot not released; its lease will end it'))
  }
}

const mayStillRun: ReadonlySet<Verdict['kind']> = new Set(['stuck', 'timed-out', 'abandoned'])
