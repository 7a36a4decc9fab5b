import type {
  EndedGlance,
  FleetTotals,
  FleetUpdate,
  NodeGlance,
  NodeHistory,
  QueueGlance
} from '@comfy-balancer/contract/fleet-update'
import type { Scope } from '@comfy-balancer/contract/scope'
import type { Session } from '@comfy-balancer/contract/session'
import { useEffect, useState } from 'preact/hooks'
import { ask, askFor, ProblemError } from './api.ts'

/** How the page hears of the fleet: `lost` while it tries again, `refused` when a key is needed or lacks the right. */
export type Connection = 'connecting' | 'live' | 'lost' | 'refused'

/** The fleet as last heard of. Nodes that did not change stay the same objects. `atMs` is the ledger's time. */
export type FleetState = {
  readonly connection: Connection
  readonly refusal: ProblemError | undefined
  readonly atMs: number
  readonly totals: FleetTotals | undefined
  readonly nodes: readonly NodeGlance[]
  readonly queues: readonly QueueGlance[]
  readonly ended: readonly EndedGlance[]
  readonly history: ReadonlyMap<string, NodeHistory>
  readonly logdyUrl: string | null
  readonly session: Session | undefined
}

const historyLength = 120
const silentMs = 6_000
const retryMs = 3_000

let state: FleetState = {
  connection: 'connecting',
  refusal: undefined,
  atMs: Date.now(),
  totals: undefined,
  nodes: [],
  queues: [],
  ended: [],
  history: new Map(),
  logdyUrl: null,
  session: undefined
}
const listeners = new Set<() => void>()
let heardAtMs = performance.now()
let source: EventSource | undefined

const become = (next: Partial<FleetState>): void => {
  state = { ...state, ...next }
  for (const listener of listeners) listener()
}

/** The fleet as it is now; draws the component again with every update. */
export const useFleet = (): FleetState => {
  const [, redraw] = useState(0)
  useEffect(() => {
    const listener = (): void => redraw(n => n + 1)
    listeners.add(listener)
    return () => void listeners.delete(listener)
  }, [])
  return state
}

/** Whether who is signed in may do this. */
export const may = ({ session }: FleetState, scope: Scope): boolean => session?.scopes.includes(scope) ?? false

/** Ends the session and forgets what was seen. */
export const signOut = async (): Promise<void> => {
  await ask('/api/v1/session', { method: 'DELETE' })
  location.reload()
}

const readSession = async (): Promise<void> => {
  const session = await askFor<Session>('/api/v1/session').catch(() => undefined)
  if (session) become({ session })
}

/** Opens the fleet's event stream, now or again after signing in, and keeps it open. */
export const connectFleet = (): void => {
  source?.close()
  source = new EventSource('./api/v1/fleet/events')
  source.onopen = () => void readSession()
  source.onmessage = ({ data }) => take(JSON.parse(data) as FleetUpdate)
  source.onerror = () => {
    if (source?.readyState === EventSource.CLOSED) void explain()
  }
}

setInterval(() => {
  if (state.connection === 'live' && performance.now() - heardAtMs > silentMs) become({ connection: 'lost' })
}, 1_000)

/** An event stream does not say why it was refused; the same question as a plain request does. */
const explain = async (): Promise<void> => {
  try {
    await ask('/api/v1/fleet')
    become({ connection: 'lost' })
  } catch (error) {
    const refusal = error instanceof ProblemError && [401, 403].includes(error.status) ? error : undefined
    become({ connection: refusal ? 'refused' : 'lost', refusal })
    if (refusal) return
  }
  setTimeout(connectFleet, retryMs)
}

const take = (update: FleetUpdate): void => {
  heardAtMs = performance.now()
  become({
    connection: 'live',
    refusal: undefined,
    atMs: Date.parse(update.at),
    totals: update.totals,
    nodes: update.isWhole ? update.nodes : merged(state.nodes, update),
    queues: update.queues ?? state.queues,
    ended: update.ended ?? state.ended,
    history: update.history ? appended(update.isWhole ? new Map() : state.history, update.history) : state.history,
    logdyUrl: update.logdyUrl
  })
}

const merged = (nodes: readonly NodeGlance[], { nodes: changed, gone }: FleetUpdate): readonly NodeGlance[] => {
  if (changed.length === 0 && gone.length === 0) return nodes
  const news = new Map(changed.map(node => [node.id, node]))
  const left = new Set(gone)
  const kept = nodes.filter(({ id }) => !left.has(id)).map(node => news.get(node.id) ?? node)
  const known = new Set(kept.map(({ id }) => id))
  const added = changed.filter(({ id }) => !known.has(id))
  if (added.length === 0) return kept
  return [...kept, ...added].sort((a, b) => a.id.localeCompare(b.id, 'en', { numeric: true }))
}

const appended = (
  known: ReadonlyMap<string, NodeHistory>,
  samples: Readonly<Record<string, NodeHistory>>
): Map<string, NodeHistory> => {
  const history = new Map(known)
  for (const [id, sample] of Object.entries(samples)) {
    const before = known.get(id)
    const joined = (series: keyof NodeHistory) => [...(before?.[series] ?? []), ...sample[series]].slice(-historyLength)
    history.set(id, { utilization: joined('utilization'), vram: joined('vram'), busy: joined('busy') })
  }
  return history
}
