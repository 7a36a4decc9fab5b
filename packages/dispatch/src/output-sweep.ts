import { every, type Loop } from '@comfy-balancer/service-kit/every'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { Ledger } from '@comfy-balancer/task-store/ledger'

type StoredFile = { readonly path: string; readonly modifiedMs: number }

/** The part of a store that is needed to clear it. */
export type SweptStore = {
  list(prefix: string, page: { readonly limit?: number; readonly after?: string }): Promise<readonly StoredFile[]>
  remove(prefix: string): Promise<void>
}

export type OutputSweepDeps = {
  readonly ledger: Pick<Ledger, 'tasks' | 'turns' | 'limits'>
  readonly store: SweptStore
  /** The node whose own store it is; undefined for the one that all services share. */
  readonly node: string | undefined
  readonly log: Log
}

const taskFolder = /^(tenants\/[^/]+\/tasks\/([^/]+))\//
const hourMs = 3_600_000
const deadlineMs = 1_800_000

/**
 * Removes the outputs of tasks that the ledger has forgotten, from a store that holds those of this ledger alone. Any number of processes
 * may run it; one at a time does the work.
 */
export const startOutputSweep = (deps: OutputSweepDeps): Loop => {
  const { ledger, node, log } = deps
  const intervalMs = Math.min(hourMs, ledger.limits.keepMs)
  const turn = node === undefined ? 'output-sweep' : `output-sweep:${node}`
  return every({
    name: 'output sweep',
    intervalMs,
    jitter: 0.1,
    log,
    deadlineMs,
    run: async signal => {
      if (!(await ledger.turns.take(turn, intervalMs))) return
      const removed = await sweep(deps, signal)
      if (removed > 0) log.info({ removed }, 'outputs of forgotten tasks removed')
    }
  })
}

const sweep = async ({ ledger, store }: OutputSweepDeps, signal: AbortSignal): Promise<number> => {
  let removed = 0
  let after = ''
  while (!signal.aborted) {
    const files = await store.list('tenants', { after })
    const last = files.at(-1)
    if (!last) break
    after = last.path
    for (const [folder, task] of foldersOf(files, Date.now() - ledger.limits.keepMs)) {
      if (signal.aborted || (await ledger.tasks.exists(task))) continue
      await store.remove(folder)
      removed++
    }
  }
  return removed
}

/** The folders of tasks in a listing that hold something older than this. */
const foldersOf = (files: readonly StoredFile[], beforeMs: number): Map<string, string> =>
  new Map(
    files.flatMap(({ path, modifiedMs }) => {
      const [, folder, task] = taskFolder.exec(path) ?? []
      return folder !== undefined && task !== undefined && modifiedMs < beforeMs ? [[folder, task] as const] : []
    })
  )
