import { Catalog } from '@comfy-balancer/contract/catalog'
import type { Need } from '@comfy-balancer/contract/need'
import type { NodeReport } from '@comfy-balancer/contract/node'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { type Intent, type NodeRecord, type NodeRow, readNodeRow } from './node-record.ts'
import { readAs } from './read-as.ts'
import { redisNowMs } from './redis-time.ts'
import type { StoreDeps } from './store-deps.ts'
import { flatHash, readTaskRecord, type TaskRecord } from './task-record.ts'

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

/** A task that this node's slot was given, with all that is needed to run it; `need` and `body` are gone only when Redis lost them. */
export type TaskAssignment = {
  readonly record: TaskRecord
  readonly token: string
  readonly body: string | undefined
  readonly need: Need | undefined
}

/** What a heartbeat is answered with. */
export type Order =
  | { readonly kind: 'run'; readonly assignment: TaskAssignment }
  /** Nothing to run, and somebody wants its ComfyUI restarted: this wish holds until it is told as fulfilled. */
  | { readonly kind: 'restart'; readonly wish: string }
  | { readonly kind: 'ok' | 'cancel' | 'lost' | 'idle' | 'stale-node' }

const catalogs = TypeCompiler.Compile(Catalog)
const isCatalog = (value: unknown): value is Catalog => catalogs.Check(value)

const areNames = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every(name => typeof name === 'string')

export type Nodes = ReturnType<typeof createNodes>

/** Registration, heartbeats and what is known of the nodes. */
export const createNodes = ({ redis, keys, run, limits }: StoreDeps) => {
  return {
    /** The ledger's time. */
    now: async (): Promise<{ nowMs: number }> => ({ nowMs: await redisNowMs(redis) }),

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
        files.text,
        hardwareOf(report)
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
      const answer = (await run('heartbeat', id, epoch, JSON.stringify(report), intent, token ?? '')) as OrderReply
      if (answer[0] === 'run') return { kind: 'run', assignment: readAssignment(answer) }
      return answer[0] === 'restart' ? { kind: 'restart', wish: answer[1] } : { kind: answer[0] }
    },

    /** The node's process is gone: ends its slot now. Answers the task that went back to its queue, if one did. */
    async suspect(id: string, epoch: string): Promise<string | undefined> {
      const [kind, task] = (await run('suspect', id, epoch)) as [string, string]
      return kind === 'recovered' ? task : undefined
    },

    /** Takes a node out of dispatch, or puts it back. False when it is not known. */
    async drain(id: string, isDrained: boolean): Promise<boolean> {
      return (await run('drain', id, isDrained ? 'drain' : 'resume', '')) === 'ok'
    },

    /** Wishes that a node restarts its ComfyUI; until it has, it is given nothing. False when it is not known. */
    async wishRestart(id: string, wish: string): Promise<boolean> {
      return (await run('drain', id, 'restart', wish)) === 'ok'
    },

    /** The node has done so; another wish than this one still holds. */
    async restarted(id: string, wish: string): Promise<void> {
      await run('drain', id, 'restarted', wish)
    },

    /** Every node of the last day, and the ledger's time. */
    async list(): Promise<{ nodes: NodeRecord[]; nowMs: number }> {
      const [nowMs, rows] = (await run('nodes')) as [number, NodeRow[]]
      return { nodes: rows.flatMap(readNodeRow), nowMs }
    },

    async find(id: string): Promise<NodeRecord | undefined> {
      const [, rows] = (await run('nodes', id)) as [number, NodeRow[]]
      return rows.flatMap(readNodeRow)[0]
    },

    /** What a digest stands for; undefined when it is not known, or no catalog. */
    async catalog(digest: string): Promise<Catalog | undefined> {
      return readAs((await redis.get(keys.catalog(digest))) ?? '', isCatalog)
    },

    /** The names of the files in a node's input folder. */
    async inputFiles(digest: string): Promise<string[]> {
      return readAs((await redis.get(keys.files(digest))) ?? '', areNames) ?? []
    },

    /** True when its heartbeats are recent enough to give it a task. */
    isAlive: (node: NodeRecord, nowMs: number): boolean => nowMs - node.lastBeatMs < limits.aliveMs,

    /** Says that a balancer lives. */
    async balancerBeat(balancer: string): Promise<void> {
      await run('presence', balancer)
    },

    /** True when some balancer showed itself lately. */
    async hasBalancer(): Promise<boolean> {
      return (await redis.exists(keys.balancer())) === 1
    }
  }
}

const hardwareOf = ({ gpus }: NodeReport): string =>
  gpus.map(({ name, vramTotalBytes }) => `${name} ${vramTotalBytes}`).join(', ')

type OrderReply =
  | [Exclude<Order['kind'], 'run' | 'restart'>]
  | ['restart', wish: string]
  | ['run', id: string, token: string, hash: string[], body: string | null, need: string | null]

const readAssignment = ([, id, token, hash, body, need]: Extract<
  OrderReply,
  ['run', ...unknown[]]
>): TaskAssignment => ({
  record: readTaskRecord(id, flatHash(hash))!,
  token,
  body: body ?? undefined,
  need: need === null ? undefined : JSON.parse(need)
})
