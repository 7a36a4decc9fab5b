import type { Catalog } from '@comfy-balancer/contract/catalog'
import type { NodeReport } from '@comfy-balancer/contract/node'
import { createLedger, type Ledger } from '@comfy-balancer/task-store/ledger'
import { defaultLimits } from '@comfy-balancer/task-store/limits'
import type { Look } from '@comfy-balancer/task-store/waiting'
import type { Redis } from 'ioredis'

/** A ledger of its own in which a number of tasks wait, always as many. */
export type LongQueue = {
  readonly waiting: number
  /** What a task occupies in Redis beyond the text of its request. */
  readonly bytesPerTask: number
  readonly ledger: Ledger
  readonly look: () => Promise<Look>
  /** Claims a task for the n-th node. */
  readonly claim: (n: number, task: string) => Promise<void>
  /** Ends what was claimed and accepts as many again. */
  readonly refill: () => Promise<void>
  readonly close: () => Promise<void>
}

const needsEach = 4
const body = JSON.stringify({ prompt: 'a workflow of ordinary size, as text '.repeat(60) })
const batch = 500

const aReport: NodeReport = {
  comfyui: { up: true, version: '0.3.64', queueRemaining: 0, foreign: 0 },
  gpus: [],
  host: { cpuUtilization: null, memoryTotalBytes: null, memoryUsedBytes: null },
  resident: ['model-0.safetensors'],
  catalog: 'c1',
  progress: null
}

const modelOf = (n: number): string => `model-${n % needsEach}.safetensors`

const catalog: Catalog = {
  classes: {
    CheckpointLoaderSimple: { output: false, required: ['ckpt_name'], choices: { ckpt_name: 0 }, uploads: [] },
    KSampler: { output: false, required: [], choices: {}, uploads: [] },
    SaveImage: { output: true, required: [], choices: {}, uploads: [] }
  },
  lists: [Array.from({ length: needsEach }, (_, n) => modelOf(n))],
  modelBytes: {}
}

const needOf = (n: number) => ({
  classes: ['CheckpointLoaderSimple', 'KSampler', 'SaveImage'],
  models: [{ classType: 'CheckpointLoaderSimple', input: 'ckpt_name', value: modelOf(n) }],
  files: [],
  labels: {}
})

/** How many tasks wait, of how many tenants with four needs each, and how many nodes there are. */
export type QueueSize = { readonly waiting: number; readonly nodes: number; readonly tenants?: number }

/** Accepts tasks and registers nodes, all of which hold the first model. Numbers are reproducible. */
export const fillQueue = async (redis: Redis, prefix: string, size: QueueSize): Promise<LongQueue> => {
  const { waiting, nodes, tenants = 5 } = size
  const limits = { ...defaultLimits, maxQueued: waiting * 2, aliveMs: 3_600_000, leaseMs: 3_600_000 }
  const ledger = createLedger(redis, prefix, limits)
  let accepted = 0
  const accept = async (): Promise<void> => {
    const n = accepted++
    const answer = await ledger.tasks.enqueue({ ...aTask(n, tenants), need: needOf(Math.floor(n / tenants)), body })
    if (answer.kind !== 'accepted') throw new Error(`task ${n}: ${answer.kind}`)
  }
  const claimed = new Map<string, string>()
  await accept()
  const before = await memoryBytes(redis)
  while (accepted < waiting) await Promise.all(Array.from({ length: Math.min(batch, waiting - accepted) }, accept))
  const bytesPerTask = ((await memoryBytes(redis)) - before) / (waiting - 1) - body.length
  await Promise.all(Array.from({ length: nodes }, (_, n) => registerNode(ledger, n)))

  return {
    waiting,
    bytesPerTask,
    ledger,
    look: () => ledger.waiting.look([modelOf(0), modelOf(1)]),
    claim: async (n, task) => {
      const nonce = `${n}-${accepted}`
      const where = { node: `node-${n}`, epoch: 'e1', task, nonce }
      const answer = await ledger.attempts.claim({ ...where, predictedSeconds: 10, why: {}, overtakes: [] })
      if (answer !== 'claimed') throw new Error(`${task} on node ${n}: ${answer}`)
      claimed.set(task, nonce)
    },
    refill: async () => {
      const spent = { gpuSeconds: 10, loadSeconds: 0, executionSeconds: 10, loaded: false }
      for (const [task, nonce] of claimed) {
        await ledger.attempts.complete(task, nonce, [], spent)
        await accept()
      }
      claimed.clear()
    },
    close: () => removeKeys(redis, prefix)
  }
}

const aTask = (n: number, tenants: number) => ({
  id: `task_${Date.now().toString(16).padStart(12, '0')}${n.toString(16).padStart(20, '0')}`,
  tenant: `tenant-${n % tenants}`,
  fingerprint: 'f1',
  outputs: ['9'],
  work: 1 + ((n * 7_919) % 1_000) / 50,
  priority: 50,
  timeoutSeconds: 600,
  deadlineSeconds: 86_400,
  clientId: undefined,
  metadata: {},
  idempotency: undefined
})

const registerNode = (ledger: Ledger, n: number) =>
  ledger.nodes.register({
    id: `node-${n}`,
    epoch: 'e1',
    url: `http://node-${n}`,
    labels: {},
    catalog: { digest: 'c1', text: JSON.stringify(catalog) },
    files: { digest: 'f1', text: '[]' },
    report: aReport,
    intent: 'ready',
    adoptToken: undefined
  })

const memoryBytes = async (redis: Redis): Promise<number> => {
  const info = await redis.info('memory')
  const value = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0)
  return value('used_memory') - value('mem_aof_buffer') - value('mem_clients_normal')
}

const removeKeys = async (redis: Redis, prefix: string): Promise<void> => {
  for await (const keys of redis.scanStream({ match: `${prefix}*`, count: 1_000 })) {
    if (keys.length > 0) await redis.unlink(...keys)
  }
}
