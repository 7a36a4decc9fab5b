import { randomUUID } from 'node:crypto'
import { cancelPrompt } from '@comfy-balancer/comfyui/cancel'
import { every, type Loop } from '@comfy-balancer/service-kit/every'
import type { Logger } from '@comfy-balancer/service-kit/logger'
import type { Order } from '@comfy-balancer/task-store/nodes'
import { Attempt, type AttemptDeps } from './attempt/attempt.ts'
import type { Sampler } from './gpu/sampler.ts'
import { promptIdOf } from './prompt-id.ts'
import { reportOf } from './report.ts'

export type NodeAgentOptions = {
  readonly id: string
  readonly url: string
  readonly labels: Readonly<Record<string, string>>
  readonly heartbeatMs: number
}

export type NodeAgentDeps = Omit<AttemptDeps, 'node' | 'log'> & { readonly sampler: Sampler; readonly logger: Logger }

const beatDeadlineMs = 10_000
const careMs = 1_000
const statsMs = 5_000
const clearMs = 10_000

/** This node's life in the fleet: it registers, heartbeats, runs what its slot holds and lets go of what it must. */
export class NodeAgent {
  readonly #options: NodeAgentOptions
  readonly #deps: NodeAgentDeps
  readonly #epoch = randomUUID()
  readonly #leftovers = new Set<string>()
  #loops: Loop[] = []
  #stopHint: () => void = () => {}
  #isRegistered = false
  #isDead = false
  #intent: 'ready' | 'draining' = 'ready'
  #attempt: Attempt | undefined
  #statsAtMs = Number.NEGATIVE_INFINITY

  constructor(options: NodeAgentOptions, deps: NodeAgentDeps) {
    this.#options = options
    this.#deps = deps
    deps.comfyui.observer.on(change => this.#comfyUiChanged(change))
  }

  /** Whether the ledger knows this node and ComfyUI answers. */
  isReady(): boolean {
    return this.#isRegistered && !this.#isDead && this.#deps.comfyui.observer.state().up
  }

  async start(): Promise<void> {
    const { id, heartbeatMs } = this.#options
    const { hints, logger: log } = this.#deps
    const care = every({ name: 'comfyui care', intervalMs: careMs, log, deadlineMs: 180_000, run: () => this.#care() })
    const beat = every({
      name: 'heartbeat',
      intervalMs: heartbeatMs,
      log,
      deadlineMs: beatDeadlineMs,
      run: () => this.#beat()
    })
    this.#loops = [beat, care]
    this.#stopHint = await hints.onNode(id, () => beat.wake())
  }

  /** Takes nothing new, and resolves when the attempt in hand has ended; past the deadline it goes back to its queue. */
  async drain(deadlineMs: number): Promise<void> {
    this.#intent = 'draining'
    this.#loops[0]?.wake()
    const attempt = this.#attempt
    if (!attempt) return
    const late = setTimeout(() => attempt.abandon('drained'), deadlineMs)
    await attempt.done
    clearTimeout(late)
  }

  /** Stops the loops and says goodbye, so that nobody waits for this node's silence. */
  async stop(): Promise<void> {
    this.#stopHint()
    await Promise.all(this.#loops.map(loop => loop.stop()))
    if (this.#isRegistered) await this.#deps.ledger.nodes.suspect(this.#options.id, this.#epoch)
  }

  #comfyUiChanged(change: 'up' | 'down' | 'restarted'): void {
    if (change === 'restarted') {
      this.#isDead = false
      this.#leftovers.clear()
      this.#deps.residency.clear()
    }
    this.#deps.logger[change === 'down' ? 'warn' : 'info']({ errorSource: 'comfyui', change }, 'comfyui changed')
    for (const loop of this.#loops) loop.wake()
  }

  /** Keeps the catalog and ComfyUI's figures fresh while no attempt needs it, and chases prompts it did not let go of. */
  async #care(): Promise<void> {
    const { comfyui } = this.#deps
    if (performance.now() - this.#statsAtMs > statsMs && comfyui.observer.state().up) {
      await comfyui.refreshStats()
      this.#statsAtMs = performance.now()
    }
    for (const promptId of this.#leftovers) {
      const outcome = await cancelPrompt({ http: comfyui.http }, promptId, { deadlineMs: clearMs })
      if (outcome !== 'stuck') this.#leftovers.delete(promptId)
    }
    if (this.#attempt || !comfyui.observer.state().up) return
    if (await comfyui.refreshCatalog()) {
      this.#isRegistered = false
      this.#loops[0]?.wake()
    }
  }

  async #beat(): Promise<void> {
    if (!this.#deps.comfyui.catalog()) return
    if (!this.#isRegistered && !(await this.#register())) return
    const { ledger } = this.#deps
    const attempt = this.#attempt
    const token = attempt?.isWorking() ? attempt.token : undefined
    const order = await ledger.nodes.heartbeat(this.#options.id, this.#epoch, this.#report(), this.#intent, token)
    await this.#obey(order, attempt)
  }

  #report() {
    return reportOf(this.#deps, this.#attempt, this.#leftovers.size, this.#isDead)
  }

  async #obey(order: Order, attempt: Attempt | undefined): Promise<void> {
    if (order.kind === 'run') {
      if (!attempt) await this.#begin(order.task, order.token, false)
      else if (attempt.token !== order.token) attempt.abandon('lost')
      return
    }
    if (order.kind === 'cancel') attempt?.abandon('cancelled')
    else if (order.kind === 'lost' || order.kind === 'idle') attempt?.abandon('lost')
    else if (order.kind === 'stale-node') {
      this.#deps.logger.warn({ errorSource: 'ours' }, 'the ledger knows a newer life of this node')
      attempt?.abandon('lost')
      this.#isRegistered = false
    }
  }

  async #begin(task: string, token: string, adopt: boolean): Promise<void> {
    const { ledger, logger } = this.#deps
    const record = await ledger.tasks.find(task)
    if (record?.token !== token) return
    const log = logger.child({ taskId: task, attempt: record.attempt, nodeId: this.#options.id })
    log.info({ adopt }, 'attempt taken')
    const attempt = new Attempt({ ...this.#deps, node: this.#options.id, log }, record, token, log, adopt)
    this.#attempt = attempt
    void attempt.done.then(isGone => {
      if (!isGone) this.#leftovers.add(attempt.promptId)
      this.#attempt = undefined
      this.#loops[0]?.wake()
    })
  }

  /** Makes the node known. An attempt that an earlier life left running is adopted if the ledger still wants it; any other is stopped first. */
  async #register(): Promise<boolean> {
    const { ledger, comfyui, logger } = this.#deps
    const catalog = comfyui.catalog()
    if (!catalog) return false
    const slot = await this.#slotToAdopt()
    await this.#clearComfyUi(slot ?? this.#attempt)
    const answer = await ledger.nodes.register({
      id: this.#options.id,
      epoch: this.#epoch,
      url: this.#options.url,
      labels: this.#options.labels,
      catalog: { digest: catalog.digest, text: catalog.text },
      files: catalog.files,
      report: this.#report(),
      intent: this.#intent,
      adoptToken: slot?.token ?? this.#attempt?.token
    })
    if (answer.kind === 'refused') {
      logger.error({ errorSource: 'ours', url: answer.url }, 'another live comfy-service has this NODE_ID')
      return false
    }
    this.#isRegistered = true
    logger.info({ nodeId: this.#options.id, epoch: this.#epoch, answer: answer.kind }, 'node registered')
    if (slot && answer.kind === 'adopted') await this.#begin(slot.task, slot.token, true)
    return true
  }

  async #slotToAdopt(): Promise<{ task: string; token: string; promptId: string } | undefined> {
    if (this.#attempt) return undefined
    const { ledger, comfyui } = this.#deps
    const slot = (await ledger.nodes.find(this.#options.id))?.slot
    if (!slot) return undefined
    const promptId = promptIdOf(slot.task, slot.token)
    const isKnown = (await comfyui.ownPrompts()).includes(promptId) || (await comfyui.http.history(promptId))
    return isKnown ? { ...slot, promptId } : undefined
  }

  async #clearComfyUi(keep: { promptId: string } | undefined): Promise<void> {
    const { comfyui, logger } = this.#deps
    for (const promptId of await comfyui.ownPrompts()) {
      if (promptId === keep?.promptId) continue
      const outcome = await cancelPrompt({ http: comfyui.http }, promptId, { deadlineMs: clearMs })
      logger.info({ promptId, outcome }, 'prompt of an earlier life stopped')
      if (outcome === 'stuck') this.#leftovers.add(promptId)
    }
  }
}
