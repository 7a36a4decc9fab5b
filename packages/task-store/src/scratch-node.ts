import type { Catalog } from '@comfy-balancer/contract/catalog'
import type { NodeReport } from '@comfy-balancer/contract/node'
import type { Registration } from './nodes.ts'

const emptyCatalog: Catalog = { classes: {}, lists: [], modelBytes: {} }

/** What a healthy node without work says of itself, for tests. */
export const aReport = (more: Partial<NodeReport> = {}): NodeReport => ({
  comfyui: { up: true, version: '0.3.64', queueRemaining: 0, foreign: 0 },
  gpus: [],
  host: { cpuUtilization: null, memoryTotalBytes: null, memoryUsedBytes: null },
  resident: [],
  catalog: 'c',
  progress: null,
  ...more
})

/** What a node may be told apart by. */
type NodeDraft = Partial<Omit<Registration, 'catalog' | 'files'>> & {
  readonly catalog?: Catalog
  readonly files?: readonly string[]
}

/** A node to register that only its records know, for tests: idle, healthy, able to run the classes of its catalog. */
export const aNode = ({ catalog = emptyCatalog, files = [], ...more }: NodeDraft = {}): Registration => ({
  id: 'gpu-a',
  epoch: 'e',
  url: 'http://127.0.0.1:1',
  labels: {},
  catalog: { digest: 'c', text: JSON.stringify(catalog) },
  files: { digest: 'f', text: JSON.stringify(files) },
  report: aReport(),
  intent: 'ready',
  adoptToken: undefined,
  ...more
})
