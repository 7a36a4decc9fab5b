import { createHash } from 'node:crypto'
import type { Access, KeyVerdict } from '@comfy-balancer/service-kit/access'
import type { ApiKeyVerdict } from '@comfy-balancer/task-store/api-keys'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import { fromLedger } from './ledger-errors.ts'

/** A key that was good is not looked up again for so long: a revoked one may work on for that time. So many are remembered. */
const rememberMs = 5_000
const maxRemembered = 10_000

/** Judges API keys and counts requests by the ledger, so that every service on it decides alike. */
export const createAccess = ({ apiKeys, tenants }: Ledger): Access => {
  const remembered = new Map<string, { readonly untilMs: number; readonly verdict: KeyVerdict }>()

  const judge = async (key: string): Promise<KeyVerdict> => {
    const digest = createHash('sha256').update(key).digest('base64')
    const known = remembered.get(digest)
    if (known && performance.now() < known.untilMs) return known.verdict
    remembered.delete(digest)
    const answer = await fromLedger(apiKeys.judge(key))
    const verdict = verdictOf(answer)
    if (answer.kind !== 'valid') return verdict
    if (remembered.size >= maxRemembered) remembered.clear()
    remembered.set(digest, { untilMs: performance.now() + Math.min(rememberMs, answer.validMs), verdict })
    return verdict
  }

  const meter: Access['meter'] = async tenant => {
    const rate = await fromLedger(tenants.meter(tenant))
    if (!rate) return undefined
    const { allowed, limit, left, backMs } = rate
    return { allowed, policy: 'requests', limit, windowSeconds: 60, left, resetSeconds: backMs / 1_000 }
  }

  return { judge, meter }
}

const verdictOf = (answer: ApiKeyVerdict): KeyVerdict => {
  if (answer.kind !== 'valid') return answer
  const { tenant, name, scopes } = answer.record
  const granted = new Set(scopes)
  return {
    kind: 'valid',
    keyName: name,
    caller: { tenant, may: scope => granted.has(scope) || granted.has('admin') }
  }
}
