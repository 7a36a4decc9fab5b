import { createHash, randomUUID } from 'node:crypto'
import { catalogDigest, readCatalog, readInputFiles } from '@comfy-balancer/comfyui/catalog'
import { createComfyUiHttp } from '@comfy-balancer/comfyui/http'
import { createObserver } from '@comfy-balancer/comfyui/observer'
import type { SystemStats } from '@comfy-balancer/comfyui/wire'
import { type Capability, createCapability } from '@comfy-balancer/domain/capability'
import type { Log } from '@comfy-balancer/service-kit/log'

/** What this ComfyUI can run and which input files it has, as read last. */
export type KnownCatalog = {
  readonly digest: string
  readonly text: string
  readonly capability: Capability
  readonly files: { readonly digest: string; readonly text: string }
}

export type ComfyUi = ReturnType<typeof openComfyUi>

/** A catalog is read again after so long; option lists change when somebody puts a file there. */
const catalogMs = 60_000
const idleLookMs = 2_000
/** ComfyUI keeps 10,000 prompts in its history and drops the oldest by itself. */
const maxFinished = 10_000

/** The ComfyUI that this service wraps: its HTTP side, its one observer, and what is known of it. */
export const openComfyUi = ({ url, node, log }: { url: string; node: string; log: Log }) => {
  const http = createComfyUiHttp({ url })
  const ownClients = `comfy-service/${node}/`
  const observer = createObserver({ url, clientId: `${ownClients}${randomUUID()}`, idleMs: idleLookMs }, { http, log })
  let catalog: KnownCatalog | undefined
  let readAtMs = Number.NEGATIVE_INFINITY
  let stats: SystemStats | undefined
  const finished = new Set<string>()
  observer.on(change => {
    if (change === 'up' || change === 'restarted') readAtMs = Number.NEGATIVE_INFINITY
  })

  return {
    http,
    observer,
    catalog: () => catalog,
    stats: () => stats,

    /** Whether the catalog was read since ComfyUI came up, and nothing speaks against it. */
    isCatalogFresh: (): boolean => readAtMs > Number.NEGATIVE_INFINITY,

    /** The catalog will be read again with the next refresh: something was not there that should have been. */
    distrustCatalog: (): void => {
      readAtMs = Number.NEGATIVE_INFINITY
    },

    /** Reads the catalog if it is due. True when it is another one than before. Throws ComfyUiError. */
    async refreshCatalog(): Promise<boolean> {
      if (performance.now() - readAtMs < catalogMs) return false
      const objectInfo = await http.objectInfo()
      const read = readCatalog(objectInfo, await http.modelSizes())
      readAtMs = performance.now()
      const [digest, files] = [catalogDigest(read), digested(readInputFiles(objectInfo))]
      if (digest === catalog?.digest && files.digest === catalog.files.digest) return false
      catalog = { digest, text: JSON.stringify(read), capability: createCapability(read), files }
      return true
    },

    async refreshStats(): Promise<void> {
      stats = await http.systemStats()
    },

    /** Nobody asks for this prompt any more; its history goes with the next `clearHistory`. */
    forget: (promptId: string): void => {
      if (finished.size < maxFinished) finished.add(promptId)
    },

    /** Removes from ComfyUI's history what was forgotten since the last time. Throws ComfyUiError. */
    async clearHistory(): Promise<void> {
      if (finished.size === 0) return
      const promptIds = [...finished]
      await http.deleteHistory(promptIds)
      for (const promptId of promptIds) finished.delete(promptId)
    },

    /** Ids of prompts in ComfyUI's queue that this node put there, in this life or an earlier one. */
    async ownPrompts(): Promise<string[]> {
      const { running, pending } = await http.queue()
      return [...running, ...pending].filter(item => item.clientId?.startsWith(ownClients)).map(item => item.promptId)
    },

    async close(): Promise<void> {
      await observer.close()
      await http.close()
    }
  }
}

const digested = (names: readonly string[]): { digest: string; text: string } => {
  const text = JSON.stringify(names)
  return { digest: createHash('sha256').update(text).digest('hex'), text }
}
