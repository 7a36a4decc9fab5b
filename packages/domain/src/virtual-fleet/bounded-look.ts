import type { Candidate } from '../policy.ts'

/** Of how many tenants, queues, tasks of a queue by either order, and tasks in all a look tells: task-store's `lookBounds`. */
const maxTenants = 64
const maxQueues = 64
const maxPerQueue = 16
const maxTasks = 512

type Queue = { readonly tenant: string; readonly needId: string; byOrder: Candidate[]; byWork: Candidate[] }

/** What waits, and as much of it as the script `candidates` shows a dispatcher. */
export class BoundedLook {
  #queues = new Map<string, Queue>()
  #tenants = new Map<string, number>()
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Answers whether the tenant had nothing waiting before. */
  add(task: Candidate): boolean {
    const name = nameOf(task)
    const queue = this.#queues.get(name) ?? { tenant: task.tenant, needId: task.needId, byOrder: [], byWork: [] }
    this.#queues.set(name, queue)
    insert(queue.byOrder, task, inOrder)
    insert(queue.byWork, task, inWork)
    this.#size++
    const before = this.#tenants.get(task.tenant) ?? 0
    this.#tenants.set(task.tenant, before + 1)
    return before === 0
  }

  remove(task: Candidate): void {
    const queue = this.#queues.get(nameOf(task))
    if (!queue || !takeOut(queue.byOrder, task, inOrder)) return
    takeOut(queue.byWork, task, inWork)
    this.#size--
    this.#tenants.set(task.tenant, this.#tenants.get(task.tenant)! - 1)
    if (queue.byOrder.length === 0) this.#queues.delete(nameOf(task))
    if (this.#tenants.get(task.tenant) === 0) this.#tenants.delete(task.tenant)
  }

  tenants(): string[] {
    return [...this.#tenants.keys()]
  }

  /** How many tasks a tenant has waiting. */
  count(tenant: string): number {
    return this.#tenants.get(tenant) ?? 0
  }

  /** Where a task stands in its queue and among all that its tenant has waiting. */
  standing(task: Candidate): { readonly before: number; readonly inQueue: number; readonly ofTenant: number } {
    const { byOrder } = this.#queues.get(nameOf(task)) ?? { byOrder: [] }
    const before = placeOf(byOrder, task, inOrder)
    return { before, inQueue: byOrder.length, ofTenant: this.count(task.tenant) }
  }

  /** The foremost and the shortest tasks of the queues of the least-served tenants and of those waiting for a file that a node holds. */
  look(startOf: (tenant: string) => number, resident: ReadonlySet<string>): Candidate[] {
    const tenants = this.tenants()
      .toSorted((a, b) => startOf(a) - startOf(b))
      .slice(0, maxTenants)
    const all = [...this.#queues.values()].toSorted((a, b) => a.byOrder[0]!.orderMs - b.byOrder[0]!.orderMs)
    const share = Math.max(1, Math.floor(maxQueues / Math.max(1, tenants.length)))
    const least = tenants.flatMap(tenant => all.filter(queue => queue.tenant === tenant).slice(0, share))
    const shown = new Set(least.slice(0, maxQueues))
    for (const queue of all) if (shown.size < 2 * maxQueues && needsAny(queue, resident)) shown.add(queue)
    const perQueue = Math.max(1, Math.min(maxPerQueue, Math.floor(maxTasks / (2 * shown.size))))
    const seen = new Set<Candidate>()
    for (const { byOrder, byWork } of shown)
      for (const list of [byOrder, byWork]) for (const task of list.slice(0, perQueue)) seen.add(task)
    return [...seen]
  }
}

const needsAny = ({ byOrder }: Queue, files: ReadonlySet<string>): boolean =>
  byOrder[0]!.need.models.some(({ value }) => files.has(value))

const nameOf = ({ tenant, needId }: Candidate): string => `${tenant}:${needId}`

type Compare = (a: Candidate, b: Candidate) => number
const byId: Compare = (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
const inOrder: Compare = (a, b) => a.orderMs - b.orderMs || byId(a, b)
const inWork: Compare = (a, b) => a.work - b.work || byId(a, b)

const placeOf = (list: readonly Candidate[], task: Candidate, compare: Compare): number => {
  let [low, high] = [0, list.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (compare(list[middle]!, task) < 0) low = middle + 1
    else high = middle
  }
  return low
}

const insert = (list: Candidate[], task: Candidate, compare: Compare): void =>
  void list.splice(placeOf(list, task, compare), 0, task)

const takeOut = (list: Candidate[], task: Candidate, compare: Compare): boolean => {
  const at = placeOf(list, task, compare)
  if (list[at]?.id !== task.id) return false
  list.splice(at, 1)
  return true
}
