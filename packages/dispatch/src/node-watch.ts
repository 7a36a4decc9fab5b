import { connect, type Socket } from 'node:net'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import { type DispatchTally, noTally } from './tally.ts'

export type NodeWatchDeps = { readonly ledger: Ledger; readonly log: Log; readonly tally?: DispatchTally }

export type NodeWatch = ReturnType<typeof createNodeWatch>

type Watched = {
  readonly url: URL
  readonly epoch: string
  socket: Socket | undefined
  timer: NodeJS.Timeout | undefined
  /** Connections in a row that did not last: a dying listener may still take one or two. */
  resets: number
}

/** Two refusals within this time mean that nobody listens there any more (dispatch.md). */
const refusalsWithinMs = 200
const connectTimeoutMs = 1_000
const reconnectMs = 1_000
const quickRedials = 3

/**
 * Keeps one idle connection to every node. When it is reset, two refused connections in a row prove that the process is gone, and the
 * ledger is told at once instead of after a lease. A reset alone, or a host that does not answer, proves nothing.
 */
export const createNodeWatch = ({ ledger, log, tally = noTally }: NodeWatchDeps) => {
  const watched = new Map<string, Watched>()

  const dial = (id: string, node: Watched, refusals: number): void => {
    if (watched.get(id) !== node) return
    const socket = connect({ host: node.url.hostname.replace(/^\[|\]$/g, ''), port: Number(node.url.port || 80) })
    node.socket = socket
    const openedAtMs = performance.now()
    let refused = false
    socket.setTimeout(connectTimeoutMs, () => socket.connecting && socket.destroy())
    socket.on('connect', () => socket.setTimeout(0))
    socket.on('data', () => {})
    socket.on('error', (error: NodeJS.ErrnoException) => {
      refused = error.code === 'ECONNREFUSED'
    })
    socket.on('close', () => {
      if (watched.get(id) !== node || node.socket !== socket) return
      if (refused) refusedOnce(id, node, refusals + 1)
      else wasReset(id, node, performance.now() - openedAtMs)
    })
  }

  const redial = (id: string, node: Watched, refusals: number, afterMs: number): void => {
    clearTimeout(node.timer)
    node.timer = setTimeout(() => dial(id, node, refusals), afterMs)
  }

  const wasReset = (id: string, node: Watched, livedMs: number): void => {
    node.resets = livedMs > reconnectMs ? 1 : node.resets + 1
    redial(id, node, 0, node.resets <= quickRedials ? refusalsWithinMs / 4 : reconnectMs)
  }

  const refusedOnce = (id: string, node: Watched, refusals: number): void => {
    if (refusals === 2) void suspect(id, node)
    redial(id, node, refusals, refusals === 1 ? refusalsWithinMs / 4 : reconnectMs)
  }

  const suspect = async (id: string, node: Watched): Promise<void> => {
    try {
      const task = await ledger.nodes.suspect(id, node.epoch)
      if (task) tally.recovered('process-gone', 1)
      if (task) log.warn({ nodeId: id, taskId: task }, 'node process is gone')
      else log.info({ nodeId: id }, 'node process is gone')
    } catch (err) {
      log.warn({ nodeId: id, err }, 'node process is gone, but the ledger could not be told')
    }
  }

  const forget = (id: string): void => {
    const node = watched.get(id)
    watched.delete(id)
    clearTimeout(node?.timer)
    node?.socket?.destroy()
  }

  return {
    /** Watches exactly these nodes from now on. */
    follow(nodes: readonly { id: string; url: string; epoch: string }[]): void {
      const wanted = new Map(nodes.map(node => [node.id, node]))
      for (const [id, node] of watched) {
        const now = wanted.get(id)
        if (now?.epoch !== node.epoch || !URL.canParse(now.url) || new URL(now.url).href !== node.url.href) forget(id)
      }
      for (const { id, url, epoch } of nodes) {
        if (watched.has(id) || !URL.canParse(url)) continue
        const node: Watched = { url: new URL(url), epoch, socket: undefined, timer: undefined, resets: 0 }
        watched.set(id, node)
        dial(id, node, 0)
      }
    },

    close(): void {
      for (const id of [...watched.keys()]) forget(id)
    }
  }
}
