import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { HealthChange } from '@comfy-balancer/comfyui/health'
import type { NodeReport } from '@comfy-balancer/contract/node'
import { every, type Loop } from '@comfy-balancer/service-kit/every'
import type { Logger } from '@comfy-balancer/service-kit/logger'
import type { Intent } from '@comfy-balancer/task-store/node-record'
import type { Order, TaskAssignment } from '@comfy-balancer/task-store/nodes'
import { Attempt, type AttemptDeps } from './attempt/attempt.ts'
import type { Moment } from './care/comfyui-process.ts'
import type { Keeper } from './care/keeper.ts'
import type { Sampler } from './gpu/sampler.ts'
import { createLeftovers, type Leftovers } from './leftovers.ts'
import { promptIdOf } from './prompt-id.ts'
import { reportOf } from './report.ts'

export type NodeAgentOptions = {
  readonly id: string
  readonly url: string
  readonly labels: Readonly<Record<string, string>>
  readonly heartbeatMs: number
}

export type NodeAgentDeps = Omit<AttemptDeps, 'node' | 'log' | 'reportUnfit'> & {
  readonly keeper: Keeper
  readonly sampler: Sampler
  readonly logger: Logger
}

const beatDeadlineMs = 10_000
const careMs = 1_000
const statsMs = 5_000
/** How long a draining node waits for the heartbeat that says so. */
const farewellMs = 2_000

type Wish = 'ready' | 'draining'

/** A node that wants to work is willing only while its ComfyUI is there for it alone. */
const intentOf = (wish: Wish, { comfyui }: NodeReport): Intent => {
  if (wish === 'draining') return 'draining'
  return comfyui.up && comfyui.foreign === 0 ? 'ready' : 'occupied'
}

/** This node's life in the fleet: it registers, heartbeats, runs what its slot holds and lets go of what it must. */
export class NodeAgent {
  readonly #options: NodeAgentOptions
  readonly #deps: NodeAgentDeps
  readonly #epoch = randomUUID()
  readonly #leftovers: Leftovers
  #loops: Loop[] = []
  #stopHint: () => void = () => {}
  #isRegistered = false
  #isRefused = false
  #isLeaving = false
  #attempt: Attempt | undefined
  #moment: Moment | undefined
  #adopted: string | undefined
  #statsAtMs = Number.NEGATIVE_INFINITY
  #farewellSaid: () => void = () => {}

  constructor(options: NodeAgentOptions, deps: NodeAgentDeps) {
    this.#options = options
    this.#deps = deps
    this.#leftovers = createLeftovers({ comfyui: deps.comfyui, log: deps.logger })
    deps.comfyui.observer.on(change => this.#comfyUiChanged(change))
  }

  isBusy(): boolean {
    return this.#attempt !== undefined
  }

  /** Whether the ledger knows this node and ComfyUI answers. */
  isReady(): boolean {
    return this.#isRegistered && this.#deps.comfyui.observer.state().up
  }

  async start(): Promise<void> {
    const { id, heartbeatMs } = this.#options
    const { hints, keeper, logger: log } = this.#deps
    const care = every({ name: 'comfyui care', intervalMs: careMs, log, deadlineMs: 180_000, run: () => this.#care() })
    const beat = every({
      name: 'heartbeat',
      intervalMs: heartbeatMs,
      log,
      deadlineMs: beatDeadlineMs,
      run: () => this.#beat()
    })
    this.#loops = [beat, care]
    keeper.start({ isBusy: () => this.isBusy(), moment: () => this.#moment, changed: () => beat.wake() })
    this.#stopHint = await hints.onNode(id, () => beat.wake())
  }

  /** Takes nothing new, and resolves when the attempt in hand has ended; past the deadline it goes back to its queue. */
  async drain(deadlineMs: number): Promise<void> {
    const farewell = new Promise<void>(resolve => {
      this.#farewellSaid = resolve
    })
    this.#isLeaving = true
    this.#deps.keeper.leave()
    this.#loops[0]?.wake()
    if (this.#isRegistered) await Promise.race([farewell, pause(farewellMs, undefined, { ref: false })])
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

  #comfyUiChanged(change: HealthChange): void {
    if (change === 'restarted') {
      this.#leftovers.clear()
      this.#deps.residency.clear()
    }
    this.#deps.logger[change === 'down' ? 'warn' : 'info']({ change }, 'comfyui changed')
    for (const loop of this.#loops) loop.wake()
  }

  /** Keeps the catalog and ComfyUI's figures fresh while no attempt needs it, and chases prompts it did not let go of. */
  async #care(): Promise<void> {
    const { comfyui } = this.#deps
    if (performance.now() - this.#statsAtMs > statsMs && comfyui.observer.state().up) {
      await comfyui.refreshStats()
      this.#statsAtMs = performance.now()
    }
    await this.#leftovers.chase(() => this.#loops[0]?.wake())
    if (!comfyui.observer.state().up) return
    await comfyui.clearHistory()
    if (this.#attempt) return
    if (await comfyui.refreshCatalog()) {
      this.#isRegistered = false
      this.#loops[0]?.wake()
    }
  }

  async #beat(): Promise<void> {
    if (!this.#deps.comfyui.catalog()) return
    if (!this.#isRegistered && !(await this.#register())) return
    const [attempt, wish, isLeaving] = [this.#attempt, this.#wish(), this.#isLeaving]
    const order = await this.#heartbeat(attempt, wish)
    await this.#obey(order, attempt, wish)
    if (isLeaving) this.#farewellSaid()
  }

  /** A node takes nothing while it is about to leave, or while its ComfyUI needs care. */
  #wish(): Wish {
    return this.#isLeaving || !this.#deps.keeper.isWell() ? 'draining' : 'ready'
  }

  #heartbeat(attempt: Attempt | undefined, wish: Wish): Promise<Order> {
    const token = attempt?.isWorking() ? attempt.token : undefined
    const report = this.#report()
    return this.#deps.ledger.nodes.heartbeat(this.#options.id, this.#epoch, report, intentOf(wish, report), token)
  }

  #report() {
    const inTheWay = this.#attempt?.isInTheWay() ? 1 : 0
    return reportOf(this.#deps, this.#attempt, this.#leftovers.count() + inTheWay)
  }

  async #obey(order: Order, attempt: Attempt | undefined, wish: Wish): Promise<void> {
    if (order.kind === 'run') {
      const { token } = order.assignment
      if (attempt && attempt.token !== token) attempt.abandon('lost')
      else if (!attempt && wish === 'draining') await this.#decline(token)
      else if (!attempt) this.#begin(order.assignment)
      return
    }
    if (order.kind === 'cancel') attempt?.abandon('cancelled')
    else if (order.kind === 'lost' || order.kind === 'idle') attempt?.abandon('lost')
    else if (order.kind === 'restart') {
      attempt?.abandon('lost')
      await this.#restart(order.wish)
    } else if (order.kind === 'stale-node') {
      this.#deps.logger.warn({ errorSource: 'ours' }, 'the ledger knows a newer life of this node')
      attempt?.abandon('lost')
      this.#isRegistered = false
    }
  }

  /** An operator wants ComfyUI restarted; the ledger says so again with each heartbeat, until it is told that this has been done. */
  async #restart(wish: string): Promise<void> {
    const { keeper, ledger, logger } = this.#deps
    if (keeper.isOwner && !keeper.fulfil(wish)) return
    if (!keeper.isOwner) logger.warn({ errorSource: 'ours' }, 'comfyui is not restarted: COMFYUI_COMMAND is not set')
    await ledger.nodes.restarted(this.#options.id, wish)
  }

  /** A slot that was filled just before this node ceased to be willing is handed back at once. */
  async #decline(token: string): Promise<void> {
    await this.#deps.ledger.attempts.release(this.#options.id, token)
  }

  #begin(assignment: TaskAssignment): void {
    const { record, token } = assignment
    const { id: taskId, attempt: number, traceId } = record
    const about = { taskId, attempt: number, nodeId: this.#options.id, ...(traceId === undefined ? {} : { traceId }) }
    const log = this.#deps.logger.child(about)
    const adopt = token === this.#adopted
    log.info({ adopt }, 'attempt taken')
    if (!adopt) this.#deps.tally.taken(record)
    const reportUnfit: AttemptDeps['reportUnfit'] = why => this.#reportUnfit(why)
    const attempt = new Attempt({ ...this.#deps, node: this.#options.id, log, reportUnfit }, assignment, adopt)
    this.#attempt = attempt
    this.#moment = { taskId: record.id, attempt: record.attempt }
    void attempt.done.then(isGone => {
      if (!isGone) this.#leftovers.add(attempt.promptId)
      this.#attempt = this.#moment = undefined
      this.#loops[0]?.wake()
    })
  }

  async #reportUnfit(why: 'dead-worker' | 'stuck'): Promise<void> {
    this.#deps.keeper.restart(why)
    await this.#heartbeat(this.#attempt, this.#wish()).catch(err =>
      this.#deps.logger.warn({ err }, 'heartbeat not taken')
    )
  }

  /** Makes the node known. An attempt that an earlier life left running is adopted if the ledger still wants it; any other is stopped. */
  async #register(): Promise<boolean> {
    const { ledger, comfyui, logger } = this.#deps
    const { id, url, labels } = this.#options
    const catalog = comfyui.catalog()
    if (!catalog) return false
    const adoptToken = this.#attempt?.token ?? (await this.#tokenToAdopt())
    const report = this.#report()
    const answer = await ledger.nodes.register({
      id,
      epoch: this.#epoch,
      url,
      labels,
      catalog: { digest: catalog.digest, text: catalog.text },
      files: catalog.files,
      report,
      intent: intentOf(this.#wish(), report),
      adoptToken
    })
    if (answer.kind === 'refused') return this.#refused(answer.url)
    this.#adopted = answer.kind === 'adopted' ? adoptToken : undefined
    await this.#findLeftovers()
    this.#isRegistered = true
    this.#isRefused = false
    logger.info({ nodeId: id, epoch: this.#epoch, answer: answer.kind }, 'node registered')
    return true
  }

  #refused(url: string): false {
    if (!this.#isRefused)
      this.#deps.logger.error({ errorSource: 'ours', url }, 'another live comfy-service has this NODE_ID')
    this.#isRefused = true
    return false
  }

  /** The token in this node's slot when ComfyUI knows its prompt: an earlier life posted it. */
  async #tokenToAdopt(): Promise<string | undefined> {
    const { ledger, comfyui } = this.#deps
    const slot = (await ledger.nodes.find(this.#options.id))?.slot
    if (!slot) return undefined
    const promptId = promptIdOf(slot.task, slot.token)
    const isKnown = (await comfyui.ownPrompts()).includes(promptId) || (await comfyui.http.history(promptId))
    return isKnown ? slot.token : undefined
  }

  /** Prompts of an earlier life that this one has not adopted; until they are gone this node counts as occupied. */
  async #findLeftovers(): Promise<void> {
    const { ledger, keeper } = this.#deps
    const slot = (await ledger.nodes.find(this.#options.id))?.slot
    const adopted = slot && slot.token === this.#adopted ? promptIdOf(slot.task, slot.token) : undefined
    await this.#leftovers.find([this.#attempt?.promptId, keeper.warmUpPrompt(), adopted])
    if (this.#leftovers.count() > 0) this.#loops[1]?.wake()
  }
}
