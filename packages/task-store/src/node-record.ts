import type { NodeReport } from '@comfy-balancer/contract/node'
import type { Pace } from '@comfy-balancer/domain/prediction'
import { noReport, readReport } from './node-report.ts'
import { readAs } from './read-as.ts'
import { flatHash } from './task-record.ts'

/** What a node is willing to do; `occupied` means that its ComfyUI is away or used by others. */
export type Intent = 'ready' | 'draining' | 'occupied'

/** The attempt in a node's slot. `predictedSeconds` is what was charged for it when it was claimed. */
export type Slot = {
  readonly task: string
  /** Whose task it is. */
  readonly tenant: string | undefined
  readonly token: string
  readonly needId: string | undefined
  readonly predictedSeconds: number
  readonly claimedMs: number
}

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
  /** False when what it reported last cannot be read: it counts as one whose ComfyUI is away. */
  readonly isReadable: boolean
  readonly intent: Intent
  /** Left alone until then because it failed several tasks; how often in a row that came so. */
  readonly quarantinedUntilMs: number
  readonly quarantines: number
  /** An operator took it out of dispatch. */
  readonly isDrained: boolean
  /** An operator wants its ComfyUI restarted: this wish is not fulfilled yet. */
  readonly restart: string | undefined
  readonly slot: Slot | undefined
  readonly pace: Pace
  /** Its last heartbeat; a node known to be gone counts as silent at once. */
  readonly lastBeatMs: number
}

/** A node as the scripts answer it: id, last heartbeat, hash, and need, predicted seconds, time of the claim and tenant of the task in its slot. */
export type NodeRow = [id: string, beatMs: string, hash: string[], held: (string | null)[]]

/** Reads a script's row; nothing for a node that is not known. */
export const readNodeRow = ([id, beatMs, row, held]: NodeRow): NodeRecord[] => {
  const hash = flatHash(row)
  if (!hash.epoch) return []
  const report = readReport(hash.report ?? '')
  return [
    {
      id,
      epoch: hash.epoch,
      url: hash.url ?? '',
      labels: readAs(hash.labels ?? '', areLabels) ?? {},
      catalog: hash.catalog ?? '',
      files: hash.files ?? '',
      report: report ?? noReport,
      isReadable: report !== undefined,
      intent: isIntent(hash.intent) ? hash.intent : 'occupied',
      quarantinedUntilMs: Number(hash.quarantinedUntilMs ?? 0),
      quarantines: Number(hash.quarantines ?? 0),
      isDrained: hash.drained === '1',
      restart: hash.restart,
      slot: slotOf(hash, held),
      pace: { load: paceOf(hash.loadPace), execution: paceOf(hash.executionPace) },
      lastBeatMs: Number(beatMs)
    }
  ]
}

const paceOf = (text: string | undefined): number | undefined => (text === undefined ? undefined : Number(text))

const isIntent = (text: string | undefined): text is Intent =>
  text === 'ready' || text === 'draining' || text === 'occupied'

const areLabels = (value: unknown): value is Record<string, string> =>
  typeof value === 'object' && value !== null && Object.values(value).every(one => typeof one === 'string')

const slotOf = (
  { slotTask, slotToken }: Readonly<Record<string, string>>,
  [needId, predictedSeconds, claimedMs, tenant]: readonly (string | null)[]
): Slot | undefined => {
  if (!slotTask || !slotToken) return undefined
  return {
    task: slotTask,
    tenant: tenant ?? undefined,
    token: slotToken,
    needId: needId ?? undefined,
    predictedSeconds: Number(predictedSeconds ?? 0),
    claimedMs: Number(claimedMs ?? 0)
  }
}
