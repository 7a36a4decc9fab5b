import { deviating, hubClass } from '../faults/deviation.ts'
import { type FaultName, type FaultRequest, faultNames } from '../faults/fault.ts'
import { FaultPlan } from '../faults/fault-plan.ts'
import { createFolders, type Folders } from '../files/folders.ts'
import { createClock } from '../gpu/clock.ts'
import { ModelCatalogue } from '../gpu/model-catalogue.ts'
import { ModelMemory } from '../gpu/model-memory.ts'
import { type ComfyHttpServer, createHttpServer } from '../http/http-server.ts'
import { createRouter, type Route } from '../http/router.ts'
import { PythonFloat } from '../json/python-float.ts'
import type { JsonObject } from '../json/python-json.ts'
import { learnWorkflows } from '../learn/learned-classes.ts'
import { ClassTable, recordedClasses } from '../nodes/class-table.ts'
import { addedClasses, nodeLibrary } from '../nodes/library.ts'
import type { NodeMachine } from '../nodes/node-class.ts'
import { type Random, randomFrom } from '../painting/random.ts'
import { infoRoutes, modelRoutes } from '../routes/info-routes.ts'
import { internalRoutes } from '../routes/internal-routes.ts'
import { historyRoutes, promptRoutes } from '../routes/prompt-routes.ts'
import { simulatorRoutes } from '../routes/simulator-routes.ts'
import { uploadRoutes } from '../routes/upload-routes.ts'
import { viewRoutes } from '../routes/view-routes.ts'
import type { SimulatorOptions } from '../simulator-options.ts'
import type { SocketHub } from '../ws/socket-hub.ts'
import { ComfyCore } from './comfy-core.ts'
import { LogBook } from './log-book.ts'
import type { ServerContext, SimulatorState } from './server-context.ts'

const defaultUploadBytes = 104_857_600
const mebibyte = 1_048_576

/** The server around the cores: what stays when ComfyUI restarts on the same port. */
export class ComfyServer {
  readonly #options: SimulatorOptions
  readonly #host: string
  readonly #folders: Folders
  readonly #catalogue: ModelCatalogue
  readonly #classes: ClassTable
  readonly #random: Random
  readonly #faults: FaultPlan
  readonly #hub: SocketHub
  readonly #log: LogBook
  readonly #http: ComfyHttpServer
  #port: number
  #closing: Promise<void> | undefined
  #machine: NodeMachine
  #core: ComfyCore

  constructor(options: SimulatorOptions) {
    this.#options = options
    this.#host = options.host ?? '127.0.0.1'
    this.#port = options.port ?? 0
    this.#folders = createFolders(options)
    this.#catalogue = new ModelCatalogue(options.models, options.modelsDir)
    this.#classes = createClasses(options, this.#catalogue, this.#folders)
    this.#random = randomFrom(`simulator ${options.seed ?? 0}`)
    this.#faults = new FaultPlan(this.#random, faultRates(options.faultRates))
    const Hub = hubClass(options.deviation)
    this.#hub = new Hub({
      features: () => this.#features(),
      queueRemaining: () => this.#core.queue.remaining,
      isSilent: () => this.#faults.isOn('silent-websocket'),
      onCrash: () => this.#crash()
    })
    this.#log = new LogBook(entry => this.#hub.toLogReaders(entry))
    this.#machine = this.#createMachine()
    this.#core = this.#createCore()
    const maxBodyBytes = this.#uploadBytes
    this.#http = createHttpServer(
      { maxBodyBytes, corsOrigin: options.corsOrigin },
      {
        handle: createRouter(deviating(allRoutes(this.#context()), options.deviation), maxBodyBytes),
        onSocket: (socket, clientId) => this.#hub.connect(socket, clientId)
      }
    )
  }

  get url(): string {
    return `http://${this.#host}:${this.#port}`
  }

  get port(): number {
    return this.#port
  }

  async listen(): Promise<string> {
    this.#port = await this.#http.listen(this.#port, this.#host)
    this.#log.write(`Total VRAM ${Math.round(this.#machine.memory.totalBytes / mebibyte)} MB`)
    this.#log.write(`To see the GUI go to: ${this.url}`)
    this.#core.start()
    return this.url
  }

  close(): Promise<void> {
    this.#closing ??= this.#end()
    return this.#closing
  }

  async #end(): Promise<void> {
    const idle = this.#core.close()
    this.#hub.dropAll()
    await Promise.all([idle, this.#http.close()])
    this.#folders.remove()
  }

  /** Lets a fault happen: crash, restart and drop-websocket at once, the others at their moment. */
  fault(request: FaultRequest): void {
    if (request.fault === 'crash' && !request.classType) setImmediate(() => this.#crash())
    else if (request.fault === 'restart') setImmediate(() => this.#restart())
    else if (request.fault === 'drop-websocket') this.#hub.dropAll()
    else this.#faults.add(request)
  }

  clearFaults(): void {
    this.#faults.clear()
  }

  state(): SimulatorState {
    const { queue_running: running, queue_pending: pending } = this.#core.queue.snapshot()
    const ids = (items: unknown[]) => items.map(item => String((item as unknown[])[1]))
    const { memory } = this.#machine
    return {
      name: this.#options.name ?? 'comfyui-simulator',
      queue: { running: ids(running), pending: ids(pending) },
      models: memory.resident(),
      vram: { totalBytes: memory.totalBytes, usedBytes: memory.usedBytes },
      faults: this.#faults.list(),
      isWorkerAlive: this.#core.isWorkerAlive,
      sockets: this.#hub.size,
      counters: { promptsExecuted: this.#core.promptsExecuted, models: memory.counters() }
    }
  }

  get #uploadBytes(): number {
    return this.#options.maxUploadMb === undefined ? defaultUploadBytes : this.#options.maxUploadMb * mebibyte
  }

  #features(): JsonObject {
    const bytes = this.#uploadBytes
    const max_upload_size = this.#options.maxUploadMb === undefined ? bytes : new PythonFloat(bytes)
    return { supports_preview_metadata: true, max_upload_size }
  }

  #createMachine(): NodeMachine {
    const { timeScale = 1, vramGb = 24, loadGbps = 1, speed = 1, hasPreviews = true } = this.#options
    const clock = createClock(timeScale)
    const limits = { vramBytes: vramGb * 1e9, loadBytesPerSecond: loadGbps * 1e9 }
    return {
      clock,
      memory: new ModelMemory(limits, clock, this.#catalogue),
      catalogue: this.#catalogue,
      folders: this.#folders,
      random: this.#random,
      speed,
      hasPreviews
    }
  }

  #createCore(): ComfyCore {
    return new ComfyCore({
      classes: this.#classes,
      machine: this.#machine,
      hub: this.#hub,
      log: this.#log,
      faults: this.#faults,
      onCrash: () => this.#crash(),
      onRestart: () => this.#restart(),
      onPrompt: (moment, promptId) => this.#options.onPrompt?.(moment, promptId)
    })
  }

  #crash(): void {
    if (this.#options.onCrash) this.#options.onCrash()
    else void this.close()
  }

  #restart(): void {
    if (this.#closing) return
    void this.#core.close()
    this.#hub.dropAll()
    this.#hub.setClient(undefined)
    this.#hub.setLastNode(undefined)
    this.#http.dropConnections()
    this.#machine = this.#createMachine()
    this.#core = this.#createCore()
    this.#core.start()
  }

  #context(): ServerContext {
    return {
      core: () => this.#core,
      machine: () => this.#machine,
      classes: this.#classes,
      hub: this.#hub,
      log: this.#log,
      faults: this.#faults,
      argv: () => ['main.py', '--listen', this.#host, '--port', String(this.#port)],
      features: () => this.#features(),
      fault: request => this.fault(request),
      clearFaults: () => this.clearFaults(),
      state: () => this.state()
    }
  }
}

function createClasses(options: SimulatorOptions, catalogue: ModelCatalogue, folders: Folders): ClassTable {
  const classes = new ClassTable({ catalogue, folders })
  for (const [name, known] of [...recordedClasses(nodeLibrary), ...addedClasses()]) {
    if (!options.missingClasses?.includes(name)) classes.add(name, known)
  }
  learnWorkflows(options.learnDirs ?? [], { classes, catalogue })
  return classes
}

function faultRates(rates: SimulatorOptions['faultRates']): Map<FaultName, number> {
  return new Map(faultNames.map(name => [name, rates?.[name] ?? 0]))
}

function allRoutes(context: ServerContext): Route[] {
  return [
    ...promptRoutes(context),
    ...historyRoutes(context),
    ...viewRoutes(context),
    ...uploadRoutes(context),
    ...infoRoutes(context),
    ...modelRoutes(context),
    ...internalRoutes(context),
    ...simulatorRoutes(context)
  ]
}
