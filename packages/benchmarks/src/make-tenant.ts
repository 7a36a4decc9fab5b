import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from '@comfy-balancer/local/root'

/** The Redis and the key prefix of a fleet's ledger. */
export type LedgerPlace = { readonly redisUrl: string; readonly prefix: string }

/** Makes a tenant without limits, and a key of it that may do all that callers and operators do. */
export const makeTenant = ({ redisUrl, prefix }: LedgerPlace, tenant: string): string => {
  const { NODE_OPTIONS: _, ...inherited } = process.env
  const env = { ...inherited, REDIS_URL: redisUrl, REDIS_KEY_PREFIX: prefix }
  const keys = (...words: string[]): string =>
    execFileSync(process.execPath, [join(root, 'services/comfy-balancer/dist/src/keys/main.js'), ...words], {
      env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore']
    }).trim()
  const scopes = 'tasks:read,tasks:write,workflows:raw,nodes:read,nodes:write'
  const key = keys('create', '--tenant', tenant, '--scopes', scopes)
  keys('limits', '--tenant', tenant, ...['--per-minute', '--per-hour', '--max-queued'].flatMap(flag => [flag, 'none']))
  return key
}
