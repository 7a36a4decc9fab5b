/** What waits of one tenant, or of `_other`: all that have no row of their own. */
export type TenantRow = { readonly tenant: string; readonly waiting: number; readonly oldestMs: number | undefined }

/** No tenant can have this name (contract/tenant.ts). */
const others = '_other'

/** The `most` tenants with the most waiting tasks, and one row for the rest when there is one: metrics must not grow with the tenants. */
export const leadingTenants = (
  waiting: Readonly<Record<string, number>>,
  oldest: ReadonlyMap<string, number>,
  most: number
): TenantRow[] => {
  const rows = Object.entries(waiting)
    .map(([tenant, count]) => ({ tenant, waiting: count, oldestMs: oldest.get(tenant) }))
    .sort((a, b) => b.waiting - a.waiting || (a.tenant < b.tenant ? -1 : 1))
  const [leading, rest] = [rows.slice(0, most), rows.slice(most)]
  if (rest.length === 0) return leading
  const times = rest.flatMap(({ oldestMs }) => oldestMs ?? [])
  const sum = rest.reduce((total, row) => total + row.waiting, 0)
  return [...leading, { tenant: others, waiting: sum, oldestMs: times.length > 0 ? Math.min(...times) : undefined }]
}
