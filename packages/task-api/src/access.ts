import { createHash } from 'node:crypto'
import type { Access, KeyVerdict } from '@comfy-balancer/service-kit/access'
import type { ApiKeyVerdict } from '@comfy-balancer/task-store/api-keys'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import { fromLedger } from './ledger-errors.ts'

/** A key that was good is not looked up again for so long: a revoked one may work on for that time. So many are remembered. */
const rememberMs = 5_000
const maxRemembered = 10_000

/** Judges API keys and counts requests by the ledger, so that every service on it decides alike. */
export const createAccess = ({ apiKeys, sessions, tenants }: Ledger): Access => {
  const remembered = new Map<string, { readonly untilMs: number; readonly verdict: KeyVerdict }>()

  const remembering = async (secret: string, ask: () => Promise<Answer>): Promise<KeyVerdict> => {
    const digest = createHash('sha256').update(secret).digest('base64')
    const known = remembered.get(digest)
    if (known && performance.now() < known.untilMs) return known.verdict
    remembered.delete(digest)
    const answer = await fromLedger(ask())
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

  return {
    judge: key => remembering(key, () => apiKeys.judge(key)),
    judgeSession: token => remembering(token, () => sessions.judge(token)),
    meter
  }
}

type Answer = ApiKeyVerdict | { readonly kind: 'ended' }

const verdictOf = (answer: Answer): KeyVerdict => {
  if (answer.kind !== 'valid') return answer
  const { tenant, name, scopes } = answer.record
  const granted = new Set(scopes)
  return {
    kind: 'valid',
    keyName: name,
    caller: { tenant, keyName: name, may: scope => granted.has(scope) || granted.has('admin') }
  }
}
