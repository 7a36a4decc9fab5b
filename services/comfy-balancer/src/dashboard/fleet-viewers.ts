import type { ServerResponse } from 'node:http'
import type { FleetUpdate } from '@comfy-balancer/contract/fleet-update'

/** Everything that is told about the fleet, and what of it has changed since it was told last. */
export type FleetState = {
  readonly whole: FleetUpdate
  readonly change: FleetUpdate
}

/** An open dashboard. It sees the tasks of `tenant`, or everybody's when that is undefined. */
export type Viewer = { readonly response: ServerResponse; readonly tenant: string | undefined }

type Watch = Viewer & { isWhole: boolean; behindSinceMs: number | undefined }

/** A browser that takes nothing for so long is let go; it connects again when it wakes up. */
const stalledMs = 30_000

/** The open dashboards. Each update is written out once for all who may see the same; who does not keep up misses updates and then gets everything. */
export const createFleetViewers = (now = () => performance.now()) => {
  const watches = new Set<Watch>()

  const tell = (watch: Watch, textOf: (isWhole: boolean, tenant: string | undefined) => Buffer): void => {
    if (watch.response.writableLength > 0) {
      watch.behindSinceMs ??= now()
      watch.isWhole = false
      if (now() - watch.behindSinceMs > stalledMs) watch.response.destroy()
      return
    }
    watch.response.write(textOf(!watch.isWhole, watch.tenant))
    watch.isWhole = true
    watch.behindSinceMs = undefined
  }

  return {
    get size() {
      return watches.size
    },

    /** Adds a dashboard, which gets everything next. Returns how to remove it. */
    add(viewer: Viewer): () => void {
      const watch: Watch = { ...viewer, isWhole: false, behindSinceMs: undefined }
      watches.add(watch)
      return () => void watches.delete(watch)
    },

    publish({ whole, change }: FleetState): void {
      const texts = new Map<string, Buffer>()
      const textOf = (isWhole: boolean, tenant: string | undefined): Buffer => {
        const key = `${isWhole} ${tenant ?? ''}`
        const text = texts.get(key) ?? messageOf(isWhole ? whole : change, tenant)
        texts.set(key, text)
        return text
      }
      for (const watch of watches) tell(watch, textOf)
    }
  }
}

const messageOf = (update: FleetUpdate, tenant: string | undefined): Buffer =>
  Buffer.from(`data: ${JSON.stringify(tenant === undefined ? update : seenBy(tenant, update))}\n\n`)

/** Tasks and queues of others are seen by operators alone; that their GPUs are at work is not. */
const seenBy = (tenant: string, update: FleetUpdate): FleetUpdate => {
  const isOwn = (one: { readonly tenant: string | null }): boolean => one.tenant === tenant
  return {
    ...update,
    nodes: update.nodes.map(node =>
      node.attempt && !isOwn(node.attempt)
        ? { ...node, attempt: { ...node.attempt, task: null, tenant: null, models: [] } }
        : node
    ),
    ...(update.queues && { queues: update.queues.filter(isOwn) }),
    ...(update.ended && { ended: update.ended.filter(isOwn) })
  }
}
