import { literalAt, membersOf, withLiterals } from '@comfy-balancer/comfyui/exact-text'
import { readGraph } from '@comfy-balancer/comfyui/graph'
import { pageFolder } from '@comfy-balancer/dashboard/page-folder'
import { startDispatchLoops } from '@comfy-balancer/dispatch/loops'
import { createNodeRegistry } from '@comfy-balancer/dispatch/node-registry'
import { createOutlook } from '@comfy-balancer/dispatch/outlook'
import { startOutputSweep } from '@comfy-balancer/dispatch/output-sweep'
import { createDispatchTally } from '@comfy-balancer/dispatch/tally'
import { egressRulesOf } from '@comfy-balancer/service-kit/egress-config'
import type { Logger } from '@comfy-balancer/service-kit/logger'
import { createMetrics, type Metrics } from '@comfy-balancer/service-kit/metrics'
import { probes } from '@comfy-balancer/service-kit/probes'
import { createServer } from '@comfy-balancer/service-kit/server'
import { servePage } from '@comfy-balancer/service-kit/web-page'
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
import { sessionRoutes } from '@comfy-balancer/task-api/session-routes'
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
import type { ComfyBalancerConfig } from './config.ts'
import { fleetEventsRoute } from './dashboard/fleet-events-route.ts'
import { createFleetFeed } from './dashboard/fleet-feed.ts'
import { measureFleet } from './fleet-metrics.ts'
import { version } from './version.ts'

export type AppDeps = {
  readonly connection: Connection
  /** Undefined where nodes keep the outputs. */
  readonly store: ObjectStore | undefined
  readonly logger: Logger
  /** Where all that is measured shows; nowhere without it. */
  readonly metrics?: Metrics
  readonly balancer: string
}

/** Builds the whole service. `begin` starts the loops; `steps` end everything in order. */
export const createApp = async (config: ComfyBalancerConfig, deps: AppDeps) => {
  const { connection, store, logger, metrics = createMetrics(), balancer } = deps
  const ledger = createLedger(connection.commands, config.REDIS_KEY_PREFIX, limitsOf(config))
  const hints = await createHints(connection.subscriber, connection.commands, config.REDIS_KEY_PREFIX)
  const registry = createNodeRegistry({ ledger })
  const outlook = createOutlook({ ledger, registry })
  const viewTask = createTaskView({ ledger, outlook })
  const nodeOutputs = createNodeOutputs(ledger, logger)
  const reading = { readGraph, exactText: { membersOf, withLiterals, literalAt } }
  const sharedTemplates = await readTemplateFolder(config.TEMPLATES_DIR, reading)
  const server = await createServer({
    logger,
    config,
    metrics,
    access: config.AUTH_MODE === 'keys' ? createAccess(ledger) : undefined,
    info: { title: 'comfy-balancer', version, description: 'One API in front of every ComfyUI GPU' }
  })
  const health = probes(server, { redis: async () => ({ ok: (await connection.commands.ping()) === 'PONG' }) })
  const files = store ? createInputFiles(store) : noInputFiles
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
    outputs: createOutputSource({ store, nodeOutputs }),
    pinnedTo: {},
    isDraining: health.isDraining
  })
  nodeRoutes(server, { ledger, capabilityOf: registry.capabilityOf })
  quarantineRoutes(server, { ledger })
  tenantRoutes(server, ledger)
  sessionRoutes(server, ledger)
  const feed = createFleetFeed({ ledger, log: logger, logdyUrl: config.LOGDY_UI_URL })
  fleetEventsRoute(server, feed)
  servePage(server, pageFolder)
  const tally = createDispatchTally(metrics)
  const webhookTally = createWebhookTally(metrics)
  let stopLoops: () => Promise<unknown> = async () => undefined

  const begin = (): void => {
    feed.begin()
    const stopDispatch = startDispatchLoops({
      ledger,
      hints,
      registry,
      log: logger,
      tally,
      reconnect: connection.reconnect,
      as: { balancer }
    })
    const fleet = measureFleet(metrics, { ledger, log: logger })
    const outputSweep = store && startOutputSweep({ ledger, store, node: undefined, log: logger })
    const inputSweep = store && startInputSweep(inputs, logger)
    const stopWebhooks = startWebhooks(config, {
      connection,
      ledger,
      hints,
      urlRules: egressRulesOf(config),
      viewOf: viewTask,
      log: logger,
      tally: webhookTally
    })
    stopLoops = () =>
      Promise.all([stopDispatch(), fleet.stop(), outputSweep?.stop(), inputSweep?.stop(), stopWebhooks(), feed.stop()])
  }

  const steps = [
    { name: 'intake', deadlineMs: 1_000, run: () => health.drain() },
    { name: 'server', deadlineMs: 6_000, run: () => server.close() },
    { name: 'loops', deadlineMs: 3_000, run: () => stopLoops() },
    { name: 'outputs', deadlineMs: 1_000, run: () => Promise.all([nodeOutputs.close(), store?.close()]) },
    { name: 'redis', deadlineMs: 1_000, run: () => connection.close() }
  ]
  return { server, feed, begin, steps }
}
