import type { Tenant } from '@comfy-balancer/contract/tenant'
import type { ApiKeyRecord } from '@comfy-balancer/task-store/api-keys'

/** What is said beside a new key. */
export const describeKey = ({ id, tenant, scopes, expiresMs }: ApiKeyRecord): string =>
  `key ${id} of tenant ${tenant}: ${scopes.join(', ')}; ${expiresMs === undefined ? 'it does not expire' : `until ${instant(expiresMs)}`}. It is shown this once.`

/** All keys as a table. */
export const keyTable = (records: readonly ApiKeyRecord[], nowMs: number): string => {
  const head = ['id', 'tenant', 'name', 'scopes', 'created', 'expires', 'last used', '']
  const rows = records.map(one => [
    one.id,
    one.tenant,
    one.name,
    one.scopes.join(','),
    instant(one.createdMs),
    instant(one.expiresMs),
    instant(one.lastUsedMs),
    one.revokedMs !== undefined ? 'revoked' : (one.expiresMs ?? Number.POSITIVE_INFINITY) <= nowMs ? 'expired' : ''
  ])
  const widths = head.map((cell, i) => Math.max(cell.length, ...rows.map(row => row[i]!.length)))
  return [head, ...rows]
    .map(row =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd()
    )
    .join('\n')
}

/** A tenant's limits, and what it uses of them. */
export const describeTenant = ({ name, limits, usage }: Tenant): string => {
  const lines = [
    ['requests per minute', limits.requestsPerMinute],
    ['generations per hour', limits.generationsPerHour, usage.generationsLastHour],
    ['queued', limits.maxQueued, usage.queued],
    ['running', limits.maxRunning, usage.running],
    ['GPU-seconds per day', limits.gpuSecondsPerDay, usage.gpuSecondsToday],
    ['bytes of uploads', limits.inputBytes, usage.inputBytes],
    ['weight', limits.weight]
  ] as const
  return [
    `tenant ${name}`,
    ...lines.map(([what, most = 'no limit', used]) => {
      const now = used === undefined ? '' : `   now ${used}`
      return `  ${what.padEnd(22)}${String(most).padStart(10)}${now}`
    })
  ].join('\n')
}

const instant = (ms: number | undefined): string => (ms === undefined ? '-' : new Date(ms).toISOString().slice(0, 19))
