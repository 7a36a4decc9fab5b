import type { EndedGlance } from '@comfy-balancer/contract/fleet-update'
import { modelsOf } from '@comfy-balancer/domain/capability'
import { shownState } from '@comfy-balancer/domain/task-state'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { FoundTask } from '@comfy-balancer/task-store/tasks'

/** The tasks that ended last, newest first. What has ended never changes, so each is read once. */
export const createEndedTasks = ({ ledger }: { readonly ledger: Ledger }) => {
  let known = new Map<string, EndedGlance | undefined>()

  const read = async (id: string): Promise<EndedGlance | undefined> => {
    const record = await ledger.tasks.find(id)
    if (!record) return undefined
    const need = await ledger.waiting.need(record.need)
    return glanceOf(record, need ? modelsOf(need) : [])
  }

  return {
    /** Reads what is new; answers whether there was anything. */
    async refresh(): Promise<boolean> {
      const ids = await ledger.tasks.ended()
      if (ids[0] === known.keys().next().value && ids.length === known.size) return false
      const before = known
      const glances = await Promise.all(ids.map(async id => (before.has(id) ? before.get(id) : read(id))))
      known = new Map(ids.map((id, i) => [id, glances[i]]))
      return true
    },

    all: (): EndedGlance[] => [...known.values()].filter(glance => glance !== undefined)
  }
}

const seconds = (ms: number): number => Math.round(ms) / 1000

const glanceOf = (record: FoundTask, models: readonly string[]): EndedGlance => {
  const { id, tenant, attempt, node, createdMs, firstClaimedMs, claimedMs, finishedMs = createdMs, result } = record
  const picture = result.outputs.find(({ kind, bytes }) => kind === 'image' && bytes <= maxPictureBytes)
  return {
    id,
    tenant,
    state: shownState(record.state),
    node: node ?? null,
    attempt,
    models: [...models],
    finishedAt: new Date(finishedMs).toISOString(),
    queuedSeconds: firstClaimedMs === undefined ? null : seconds(firstClaimedMs - createdMs),
    ranSeconds: claimedMs === undefined || node === undefined ? null : seconds(finishedMs - claimedMs),
    reloaded: record.loaded,
    outputs: result.outputs.length,
    picture: picture ? `/api/v1/tasks/${id}/outputs/${picture.attempt}-${picture.index}` : null,
    error: result.error?.title ?? null
  }
}

/** A larger image is not fetched for a thumbnail. */
const maxPictureBytes = 8_388_608
