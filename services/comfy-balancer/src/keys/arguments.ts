import { parseArgs } from 'node:util'
import { type Scope, scopes } from '@comfy-balancer/contract/scope'
import { TenantLimits, TenantName } from '@comfy-balancer/contract/tenant'
import { Value } from '@sinclair/typebox/value'

/** What the operator wants. A limit that is undefined shall hold no longer. */
export type Command =
  | {
      readonly kind: 'create'
      readonly tenant: string
      readonly name: string
      readonly scopes: Scope[]
      readonly lifetimeMs: number | undefined
    }
  | { readonly kind: 'list'; readonly tenant: string | undefined }
  | { readonly kind: 'revoke'; readonly id: string }
  | { readonly kind: 'rotate'; readonly id: string; readonly overlapMs: number }
  | {
      readonly kind: 'limits'
      readonly tenant: string
      readonly changes: ReadonlyMap<keyof TenantLimits, number | undefined>
    }

/** The arguments are wrong; the message says how. */
export class UsageError extends Error {}

export const usage = `use: npm run keys -- create --tenant <name> --scopes <scope,…> [--name <words>] [--expires 90d]
                    list [--tenant <name>]
                    revoke <id>
                    rotate <id> [--overlap 24h]      makes a successor; the old key works on for the overlap
                    limits --tenant <name> [--per-minute 600] [--per-hour 50] [--max-queued 1000] [--max-running 4]
                           [--gpu-seconds-per-day 3600] [--input-bytes 1000000000] [--weight 2]
                           none as a value: no limit; of input-bytes what INPUT_TENANT_BYTES says
scopes: ${scopes.join(', ')}`

const limitFlags = {
  'per-minute': 'requestsPerMinute',
  'per-hour': 'generationsPerHour',
  'max-queued': 'maxQueued',
  'max-running': 'maxRunning',
  'gpu-seconds-per-day': 'gpuSecondsPerDay',
  'input-bytes': 'inputBytes',
  weight: 'weight'
} as const satisfies Readonly<Record<string, keyof TenantLimits>>

/** Reads the words after `npm run keys --`. Throws a UsageError. */
export const readCommand = (words: readonly string[]): Command => {
  const [kind, ...rest] = words
  if (kind === 'create') {
    const { tenant, scopes, name, expires } = flags(rest, ['tenant', 'scopes', 'name', 'expires'])
    const owner = tenantOf(tenant)
    return {
      kind,
      tenant: owner,
      name: nameOf(name ?? owner),
      scopes: scopesOf(scopes),
      lifetimeMs: expires ? durationMs(expires) : undefined
    }
  }
  if (kind === 'list') {
    const { tenant } = flags(rest, ['tenant'])
    return { kind, tenant: tenant === undefined ? undefined : tenantOf(tenant) }
  }
  if (kind === 'revoke') return { kind, id: idOf(rest, []).id }
  if (kind === 'rotate') {
    const { id, overlap = '24h' } = idOf(rest, ['overlap'])
    return { kind, id, overlapMs: durationMs(overlap) }
  }
  if (kind === 'limits') return limitsCommand(rest)
  throw new UsageError(kind === undefined ? 'what shall be done?' : `${kind} is not a command`)
}

const limitsCommand = (words: readonly string[]): Command => {
  const { tenant, ...given } = flags(words, ['tenant', ...Object.keys(limitFlags)])
  const changes = Object.entries(given).map(([flag, text]) => {
    const limit = limitFlags[flag as keyof typeof limitFlags]
    const value = text === 'none' ? undefined : Number(text)
    if (value === undefined || Value.Check(TenantLimits.properties[limit], value)) return [limit, value] as const
    throw new UsageError(`--${flag} cannot be ${text}`)
  })
  return { kind: 'limits', tenant: tenantOf(tenant), changes: new Map(changes) }
}

const parse = (words: readonly string[], names: readonly string[]) => {
  try {
    const options = Object.fromEntries(names.map(name => [name, { type: 'string' as const }]))
    return parseArgs({ args: [...words], options, allowPositionals: true, strict: true })
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

const flags = (words: readonly string[], names: readonly string[]): Readonly<Record<string, string>> => {
  const { values, positionals } = parse(words, names)
  if (positionals.length > 0) throw new UsageError(`${positionals[0]} was not expected`)
  return values as Record<string, string>
}

const idOf = (
  words: readonly string[],
  names: readonly string[]
): Readonly<Record<string, string>> & { id: string } => {
  const { values, positionals } = parse(words, names)
  const [id] = positionals
  if (id === undefined || positionals.length > 1) throw new UsageError('one key id is needed: see list')
  return { ...(values as Record<string, string>), id }
}

const tenantOf = (text: string | undefined): string => {
  if (text === undefined) throw new UsageError('--tenant is missing')
  if (Value.Check(TenantName, text)) return text
  throw new UsageError(`--tenant ${text}: lower-case letters, digits, dots, hyphens and underscores, 63 at most`)
}

const nameOf = (text: string): string => {
  if (/^[\x20-\x7e]{1,100}$/.test(text)) return text
  throw new UsageError('--name: 100 printable ASCII characters at most')
}

const scopesOf = (text: string | undefined): Scope[] => {
  const words = (text ?? '').split(',').map(word => word.trim())
  const wrong = words.find(word => !(scopes as readonly string[]).includes(word))
  if (wrong === undefined) return [...new Set(words)] as Scope[]
  throw new UsageError(text === undefined ? '--scopes is missing' : `--scopes: ${JSON.stringify(wrong)} is not a scope`)
}

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

const durationMs = (text: string): number => {
  const [, amount, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  if (amount === undefined || unit === undefined)
    throw new UsageError(`${text} is not a time such as 90d, 24h, 30m or 0s`)
  return Number(amount) * unitMs[unit]!
}
