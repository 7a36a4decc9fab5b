import { literalAt, membersOf, withLiterals } from '@comfy-balancer/comfyui/exact-text'
import { readGraph } from '@comfy-balancer/comfyui/graph'
import { startDispatchLoops } from '@comfy-balancer/dispatch/loops'
import { createNodeRegistry } from '@comfy-balancer/dispatch/node-registry'
import { createOutlook } from '@comfy-balancer/dispatch/outlook'
import { startOutputSweep } from '@comfy-balancer/dispatch/output-sweep'
import { createDispatchTally } from '@comfy-balancer/dispatch/tally'
import { loraLabel } from '@comfy-balancer/domain/lora-source'
import { createEgress } from '@comfy-balancer/service-kit/egress'
import { egressRulesOf } from '@comfy-balancer/service-kit/egress-config'
import { every, type Loop } from '@comfy-balancer/service-kit/every'
import type { Logger } from '@comfy-balancer/service-kit/logger'
import { createMetrics, type Metrics } from '@comfy-balancer/service-kit/metrics'
import { probes } from '@comfy-balancer/service-kit/probes'
import { createServer } from '@comfy-balancer/service-kit/server'
import { configuredStore } from '@comfy-balancer/service-kit/store-config'
import { createInputFiles } from '@comfy-balancer/storage/input-files'
import type { ObjectStore } from '@comfy-balancer/storage/object-store'
import { createAccess } from '@comfy-balancer/task-api/access'
import { inputLimitsOf, taskRulesOf } from '@comfy-balancer/task-api/config'
import { createInputLibrary, noInputFiles } from '@comfy-balancer/task-api/inputs/input-library'
import { startInputSweep } from '@comfy-balancer/task-api/inputs/input-sweep'
import { createNodeOutputs } from '@comfy-balancer/task-api/node-outputs'
import { nodeRoutes } from '@comfy-balancer/task-api/node-routes'
import { createOutputSource } from '@comfy-balancer/task-api/output-source'
import { quarantineRoutes } from '@comfy-balancer/task-api/quarantine-routes'
import { taskRoutes } from '@comfy-balancer/task-api/task-routes'
import { createTaskView } from '@comfy-balancer/task-api/task-view'
import { readTemplateFolder } from '@comfy-balancer/task-api/templates/template-folder'
import { createTemplateShelf } from '@comfy-balancer/task-api/templates/template-shelf'
import { tenantRoutes } from '@comfy-balancer/task-api/tenant-routes'
import { limitsOf } from '@comfy-balancer/task-store/config'
import type { Connection } from '@comfy-balancer/task-store/connection'
import { createHints } from '@comfy-balancer/task-store/hints'
import { createLedger } from '@comfy-balancer/task-store/ledger'
import { createWebhookTally } from '@comfy-balancer/webhooks/tally'
import { startWebhooks } from '@comfy-balancer/webhooks/webhooks'
import type { AttemptLimits } from './attempt/attempt.ts'
import { createAttemptTally } from './attempt/tally.ts'
import { createCareTally } from './care/care-tally.ts'
import { openKeeper } from './care/open-keeper.ts'
import { openComfyUi } from './comfyui.ts'
import { type ComfyUiFolders, openComfyUiFolders } from './comfyui-folders.ts'
import { type ComfyServiceConfig, labelsOf } from './config.ts'
import { createSampler } from './gpu/sampler.ts'
import { createInputShelf } from './inputs/input-shelf.ts'
import { openLoras } from './loras/open-loras.ts'
import { NodeAgent } from './node-agent.ts'
import { measureNode } from './node-metrics.ts'
import { gpusOf, reportOf } from './report.ts'
import { createResidency } from './residency.ts'
import { startStandalone } from './standalone.ts'
import { version } from './version.ts'

export type AppDeps = {
  readonly connection: Connection
  readonly store: ObjectStore
  readonly logger: Logger
  /** Where all that is measured shows; nowhere without it. */
  readonly metrics?: Metrics
  readonly node: string
}

/** How long after its attempt was handed back a draining service still needs. */
const handBackMs = 5_000

/** Builds the whole service; `begin` starts its node's life once the address is known, `steps` end it in order. */
export const createApp = async (config: ComfyServiceConfig, deps: AppDeps) => {
  const { connection, store, logger, metrics = createMetrics(), node } = deps
  const ledger = createLedger(connection.commands, config.REDIS_KEY_PREFIX, limitsOf(config))
  const hints = await createHints(connection.subscriber, connection.commands, config.REDIS_KEY_PREFIX)
  const registry = createNodeRegistry({ ledger })
  const outlook = createOutlook({ ledger, registry })
  const viewTask = createTaskView({ ledger, outlook })
  const nodeOutputs = createNodeOutputs(ledger, logger)
  const folders = config.COMFYUI_DIR === undefined ? undefined : await openComfyUiFolders(config.COMFYUI_DIR)
  const durable = configuredStore(config).kind !== 'node'
  const comfyui = openComfyUi({ url: config.COMFYUI_URL, node, log: logger })
  const sampler = createSampler({
    intervalMs: 2_000,
    logger,
    ...(config.GPU_INDEX === undefined ? {} : { gpuIndex: config.GPU_INDEX }),
    ...(config.GPU_UUID === undefined ? {} : { gpuUuid: config.GPU_UUID })
  })
  const residency = createResidency()
  const egress = createEgress({ ...egressRulesOf(config), maxBytes: config.INPUT_MAX_BYTES })
  const reading = { readGraph, exactText: { membersOf, withLiterals, literalAt } }
  const sharedTemplates = await readTemplateFolder(config.TEMPLATES_DIR, reading)
  const shelf = createInputShelf({ egress, uploads: ledger.inputs, store, maxPixels: config.INPUT_MAX_PIXELS })
  const loras = await openLoras(config, { uploads: ledger.inputs, store, node, log: logger })
  const server = await createServer({
    logger,
    config,
    metrics,
    access: config.AUTH_MODE === 'keys' ? createAccess(ledger) : undefined,
    info: { title: 'comfy-service', version, description: 'One ComfyUI node behind an API for tasks' }
  })
  let agent: NodeAgent | undefined
  const keeper = openKeeper(config, {
    ...{ node, ledger, comfyui, sampler, residency, folders },
    tally: createCareTally(metrics),
    log: logger
  })
  const tallies = {
    dispatch: createDispatchTally(metrics),
    attempts: createAttemptTally(metrics),
    webhooks: createWebhookTally(metrics)
  }
  measureNode(metrics, {
    report: () => reportOf({ comfyui, sampler, residency, keeper }, undefined, 0),
    isBusy: () => agent?.isBusy() ?? false
  })
  const health = probes(server, {
    redis: async () => ({ ok: (await connection.commands.ping()) === 'PONG' }),
    node: async () => ({ ok: agent?.isReady() ?? false })
  })
  const files = durable ? createInputFiles(store) : noInputFiles
  const inputs = createInputLibrary({ ledger, files, limits: inputLimitsOf(config) })
  taskRoutes(server, {
    ledger,
    hints,
    ...reading,
    templates: createTemplateShelf({ ledger, ...reading, shared: sharedTemplates }),
    inputs,
    ...taskRulesOf(config),
    knownNodes: registry.known,
    outlook,
    viewTask,
    urlRules: egressRulesOf(config),
    outputs: createOutputSource({ store, nodeOutputs, self: node }),
    pinnedTo: { node },
    isDraining: health.isDraining
  })
  nodeRoutes(server, { ledger, capabilityOf: registry.capabilityOf, self: node })
  quarantineRoutes(server, { ledger })
  tenantRoutes(server, ledger)
  let stopStandalone = async (): Promise<void> => {}
  const loops: Loop[] = []

  const begin = async (url: string): Promise<void> => {
    const labels = { ...labelsOf(config.NODE_LABELS), ...(loras ? loraLabel : {}) }
    agent = new NodeAgent(
      { id: node, url: config.NODE_URL ?? url, labels, heartbeatMs: config.HEARTBEAT_MS },
      {
        ledger,
        hints,
        comfyui,
        keeper,
        residency,
        store,
        durable,
        folders,
        shelf,
        loras,
        tally: tallies.attempts,
        sampler,
        logger,
        limits: attemptLimits(config),
        vramBytes: () => gpusOf(sampler, comfyui)[0]?.vramTotalBytes ?? undefined,
        vramOfCapable: registry.vramOfCapable
      }
    )
    await agent.start()
    stopStandalone = startStandalone({
      ledger,
      log: logger,
      start: [
        () =>
          startDispatchLoops({
            ledger,
            hints,
            registry,
            log: logger,
            tally: tallies.dispatch,
            reconnect: connection.reconnect,
            as: { node }
          }),
        () =>
          startWebhooks(config, {
            connection,
            ledger,
            hints,
            urlRules: egressRulesOf(config),
            viewOf: viewTask,
            log: logger,
            tally: tallies.webhooks
          })
      ]
    })
    loops.push(startOutputSweep({ ledger, store, node: durable ? undefined : node, log: logger }))
    if (folders) loops.push(startFolderCare(folders, logger))
    if (durable) loops.push(startInputSweep(inputs, logger))
  }

  const drainMs = Math.max(0, config.SHUTDOWN_SECONDS * 1_000 - handBackMs)
  const steps = [
    { name: 'intake', deadlineMs: 1_000, run: () => health.drain() },
    { name: 'attempt', deadlineMs: drainMs + handBackMs, run: () => agent?.drain(drainMs) },
    {
      name: 'loops',
      deadlineMs: 3_000,
      run: () => Promise.all([stopStandalone(), agent?.stop(), ...loops.map(loop => loop.stop())])
    },
    { name: 'own comfyui', deadlineMs: config.COMFYUI_STOP_SECONDS * 1_000 + 5_000, run: () => keeper.stop() },
    { name: 'server', deadlineMs: 6_000, run: () => server.close() },
    { name: 'sampler', deadlineMs: 2_000, run: () => sampler.close() },
    { name: 'egress', deadlineMs: 1_000, run: () => egress.close() },
    { name: 'loras', deadlineMs: 1_000, run: () => loras?.close() },
    { name: 'comfyui', deadlineMs: 2_000, run: () => comfyui.close() },
    { name: 'outputs', deadlineMs: 1_000, run: () => Promise.all([nodeOutputs.close(), store.close()]) },
    { name: 'redis', deadlineMs: 1_000, run: () => connection.close() }
  ]
  return { server, begin, steps }
}

/** Attempts clear up behind themselves; this finds what they could not. */
const startFolderCare = (folders: ComfyUiFolders, log: Logger): Loop =>
  every({
    name: 'comfyui folders',
    intervalMs: 3_600_000,
    log,
    run: async () => {
      const removed = await folders.removeOld(Date.now())
      if (removed > 0) log.info({ removed }, 'old files of ours removed from the folders of comfyui')
    }
  })

const attemptLimits = (config: ComfyServiceConfig): AttemptLimits => ({
  maxOutputBytes: config.MAX_OUTPUT_BYTES,
  silentMs: config.COMFYUI_SILENT_SECONDS * 1_000,
  cancelMs: config.COMFYUI_CANCEL_SECONDS * 1_000
})
