import type { Catalog } from '@comfy-balancer/contract/catalog'
import type { NodeReport } from '@comfy-balancer/contract/node'
import type { StoreDeps } from './store-deps.ts'

/** What a node is willing to do; `occupied` means that its ComfyUI is away or used by others. */
export type Intent = 'ready' | 'draining' | 'occupied'

/** A node as the ledger holds it. */
export type NodeRecord = {
  readonly id: string
  readonly epoch: string
  readonly url: string
  readonly labels: Readonly<Record<string, string>>
  readonly catalog: string
  /** Digest of the names of its input files. */
  readonly files: string
  readonly report: NodeReport
  readonly intent: Intent
  readonly quarantinedUntilMs: number
  readonly slot: { readonly task: string; readonly token: string } | undefined
  /** Its last heartbeat; a node known to be gone counts as silent at once. */
  readonly lastBeatMs: number
}

export type Registration = {
  readonly id: string
  readonly epoch: string
  readonly url: string
  readonly labels: Readonly<Record<string, string>>
  readonly catalog: { readonly digest: string; readonly text: string }
  readonly files: { readonly digest: string; readonly text: string }
  readonly report: NodeReport
  readonly intent: Intent
  readonly adoptToken: string | undefined
}

export type Registered =
  | { readonly kind: 'registered' | 'adopted' }
  | { readonly kind: 'refused'; readonly url: string }

/** What a heartbeat is answered with. */
export type Order =
  | { readonly kind: 'run'; readonly task: string; readonly token: string }
  | { readonly kind: 'ok' | 'cancel' | 'lost' | 'idle' | 'stale-node' }

export type Nodes = ReturnType<typeof createNodes>

/** Registration, heartbeats and what is known of the nodes. */
export const createNodes = ({ redis, keys, run, limits }: StoreDeps) => {
  const now = async (): Promise<{ nowMs: number }> => {
    const [seconds, micros] = await redis.time()
    return { nowMs: Number(seconds) * 1000 + Math.floor(Number(micros) / 1000) }
  }
  return {
    /** The ledger's time. */
    now,

    /** How many nodes sent a heartbeat recently enough to be given a task. */
    async countAlive(): Promise<number> {
      return redis.zcount(keys.nodes(), (await now()).nowMs - limits.aliveMs, '+inf')
    },

    async register(node: Registration): Promise<Registered> {
      const { id, epoch, url, labels, catalog, files, report, intent, adoptToken } = node
      const [kind, other] = (await run(
        'register',
        id,
        epoch,
        url,
        JSON.stringify(labels),
        catalog.digest,
        catalog.text,
        JSON.stringify(report),
        adoptToken ?? '',
        intent,
        files.digest,
        files.text
      )) as [Registered['kind'], string]
      return kind === 'refused' ? { kind, url: other } : { kind }
    },

    async heartbeat(
      id: string,
      epoch: string,
      report: NodeReport,
      intent: Intent,
      token: string | undefined
    ): Promise<Order> {
      const [kind, task, runToken] = (await run(
        'heartbeat',
        id,
        epoch,
        JSON.stringify(report),
        intent,
        token ?? ''
      )) as [Order['kind'], string, string]
      return kind === 'run' ? { kind, task, token: runToken } : { kind }
    },

    /** The node's process is gone: ends its slot now. Answers the task that went back to its queue, if one did. */
    async suspect(id: string, epoch: string): Promise<string | undefined> {
      const [kind, task] = (await run('suspect', id, epoch)) as [string, string]
      return kind === 'recovered' ? task : undefined
    },

    /** Every node of the last day, and the ledger's time. */
    async list(): Promise<{ nodes: NodeRecord[]; nowMs: number }> {
      const [rows, { nowMs }] = await Promise.all([
        redis.zrangebyscore(keys.nodes(), '-inf', '+inf', 'WITHSCORES'),
        now()
      ])
      const beats = rows.flatMap((id, i) => (i % 2 === 0 ? [{ id, beatMs: Number(rows[i + 1]) }] : []))
      const hashes = await Promise.all(beats.map(({ id }) => redis.hgetall(keys.node(id))))
      const nodes = beats.flatMap(({ id, beatMs }, i) => readNodeRecord(id, beatMs, hashes[i] ?? {}))
      return { nodes, nowMs }
    },

    async find(id: string): Promise<NodeRecord | undefined> {
      const [hash, beatMs] = await Promise.all([redis.hgetall(keys.node(id)), redis.zscore(keys.nodes(), id)])
      return readNodeRecord(id, Number(beatMs ?? 0), hash)[0]
    },

    async catalog(digest: string): Promise<Catalog | undefined> {
      const text = await redis.get(keys.catalog(digest))
      return text ? JSON.parse(text) : undefined
    },

    /** The names of the files in a node's input folder. */
    async inputFiles(digest: string): Promise<string[]> {
      const text = await redis.get(keys.files(digest))
      return text ? JSON.parse(text) : []
    },

    /** True when its heartbeats are recent enough to give it a task. */
    isAlive: (node: NodeRecord, nowMs: number): boolean => nowMs - node.lastBeatMs < limits.aliveMs,

    /** Says that a balancer lives. */
    async balancerBeat(balancer: string): Promise<void> {
      await redis.set(keys.balancer(), balancer, 'PX', limits.blindMs)
    },

    /** True when some balancer showed itself lately. */
    async hasBalancer(): Promise<boolean> {
      return (await redis.exists(keys.balancer())) === 1
    }
  }
}

const readNodeRecord = (id: string, lastBeatMs: number, hash: Readonly<Record<string, string>>): NodeRecord[] => {
  if (!hash.epoch) return []
  const { slotTask, slotToken } = hash
  return [
    {
      id,
      epoch: hash.epoch,
      url: hash.url ?? '',
      labels: JSON.parse(hash.labels ?? '{}'),
      catalog: hash.catalog ?? '',
      files: hash.files ?? '',
      report: JSON.parse(hash.report ?? '{}'),
      intent: (hash.intent ?? 'occupied') as Intent,
      quarantinedUntilMs: Number(hash.quarantinedUntilMs ?? 0),
      slot: slotTask && slotToken ? { task: slotTask, token: slotToken } : undefined,
      lastBeatMs
    }
  ]
}
