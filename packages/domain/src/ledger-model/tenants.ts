import type { TenantLimits } from '@comfy-balancer/contract/tenant'
import { isInSlot, type LedgerModel, queuedTasks, type Step } from './model.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs

/** What a tenant may use; nothing is limited for one that was never set up. */
export const limitsOf = (ledger: LedgerModel, tenant: string): TenantLimits => ledger.tenants.get(tenant) ?? {}

/** What a GPU-second of a tenant counts in the fair queue. */
export const priceOf = (ledger: LedgerModel, tenant: string): number => 1 / (limitsOf(ledger, tenant).weight ?? 1)

const dayOf = (tenant: string, nowMs: number): string => `${tenant}:${Math.floor(nowMs / dayMs)}`

/** Adds what an attempt used to its tenant's day. */
export const spend = (ledger: LedgerModel, tenant: string, nowMs: number, seconds: number): LedgerModel => {
  if (seconds <= 0) return ledger
  const day = dayOf(tenant, nowMs)
  return { ...ledger, spent: new Map(ledger.spent).set(day, (ledger.spent.get(day) ?? 0) + seconds) }
}

const hasSpentAll = (ledger: LedgerModel, tenant: string, nowMs: number): boolean =>
  (ledger.spent.get(dayOf(tenant, nowMs)) ?? 0) >=
  (limitsOf(ledger, tenant).gpuSecondsPerDay ?? Number.POSITIVE_INFINITY)

/** True while a tenant may not be given another GPU. */
export const isAtCap = (ledger: LedgerModel, tenant: string, nowMs: number): boolean => {
  const running = [...ledger.tasks.values()].filter(task => task.tenant === tenant && isInSlot(task)).length
  const { maxRunning = Number.POSITIVE_INFINITY } = limitsOf(ledger, tenant)
  return running >= maxRunning || hasSpentAll(ledger, tenant, nowMs)
}

const generatedLately = (ledger: LedgerModel, tenant: string, nowMs: number): [string, number][] =>
  [...(ledger.generated.get(tenant) ?? [])].filter(([, atMs]) => atMs > nowMs - hourMs)

/** Which limit keeps a tenant from adding a task, and when that may have changed. */
export type Quota = {
  readonly kind: 'over-quota'
  readonly limit: 'maxQueued' | 'gpuSecondsPerDay' | 'generationsPerHour'
  readonly most: number
  readonly againMs: number
}

/** The first limit that is reached; undefined when the tenant may add so many tasks. */
export const reachedQuota = (ledger: LedgerModel, tenant: string, nowMs: number, adds: number): Quota | undefined => {
  const { maxQueued, gpuSecondsPerDay, generationsPerHour } = limitsOf(ledger, tenant)
  const kind = 'over-quota'
  const queued = queuedTasks(ledger).filter(task => task.tenant === tenant).length
  if (maxQueued !== undefined && queued + adds > maxQueued)
    return { kind, limit: 'maxQueued', most: maxQueued, againMs: 10_000 }
  if (gpuSecondsPerDay !== undefined && hasSpentAll(ledger, tenant, nowMs))
    return { kind, limit: 'gpuSecondsPerDay', most: gpuSecondsPerDay, againMs: dayMs - (nowMs % dayMs) }
  if (generationsPerHour === undefined) return undefined
  const times = generatedLately(ledger, tenant, nowMs).map(([, atMs]) => atMs)
  const over = times.length + adds - generationsPerHour
  if (over <= 0) return undefined
  const freeing = times[over - 1]
  const againMs = freeing === undefined ? hourMs : freeing + hourMs - nowMs
  return { kind, limit: 'generationsPerHour', most: generationsPerHour, againMs }
}

/** What is left of the generations of an hour, and in how many ms the next is given back. */
export type Generations = { readonly limit: number; readonly left: number; readonly backMs: number }

/** Counts an accepted task against the generations of its tenant; only where such a limit holds. */
export const countGeneration = (
  ledger: LedgerModel,
  tenant: string,
  nowMs: number,
  id: string
): { readonly generations: Generations | undefined; readonly after: LedgerModel } => {
  const limit = limitsOf(ledger, tenant).generationsPerHour
  if (limit === undefined) return { generations: undefined, after: ledger }
  const own = new Map([...generatedLately(ledger, tenant, nowMs), [id, nowMs] as const])
  const backMs = Math.min(...own.values()) + hourMs - nowMs
  const after = { ...ledger, generated: new Map(ledger.generated).set(tenant, own) }
  return { generations: { limit, left: limit - own.size, backMs }, after }
}

/** Replaces all limits of a tenant. */
export const setLimits = (
  ledger: LedgerModel,
  _nowMs: number,
  { tenant, limits }: { readonly tenant: string; readonly limits: TenantLimits }
): Step<undefined> => {
  const tenants = new Map(ledger.tenants).set(tenant, { weight: 1, ...limits })
  return { answer: undefined, after: { ...ledger, tenants } }
}

/** A tenant without work keeps its place only while that is behind the others'; when nobody has work, all places are equal. */
export const forgetPlaces = (ledger: LedgerModel): LedgerModel => {
  const tasks = [...ledger.tasks.values()]
  const busy = new Set(tasks.filter(task => task.state === 'queued' || isInSlot(task)).map(({ tenant }) => tenant))
  if (busy.size === 0 && !tasks.some(task => task.state === 'delayed'))
    return { ...ledger, virtualTime: 0, starts: new Map(), overtaken: new Map() }
  const starts = [...ledger.starts].filter(([tenant, start]) => busy.has(tenant) || start > ledger.virtualTime)
  const overtaken = [...ledger.overtaken].filter(([tenant]) => busy.has(tenant))
  return { ...ledger, starts: new Map(starts), overtaken: new Map(overtaken) }
}
