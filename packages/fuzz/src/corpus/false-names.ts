/** Loaded into the services before anything else: a name service that lies about the names under `rebind.test`. */
import dns, { type LookupAddress } from 'node:dns'
import { syncBuiltinESMExports } from 'node:module'

/** What each name resolves to, one look-up after the other. */
const answers: Readonly<Record<string, readonly (readonly string[])[]>> = {
  private: [['127.0.0.1']],
  mixed: [['127.0.0.2', '127.0.0.1']],
  mapped: [['::ffff:127.0.0.1']],
  localhost: [['::1', '127.0.0.1']],
  turning: [['127.0.0.2'], ['127.0.0.1']]
}
const asked = new Map<string, number>()

const addressesOf = (host: string): LookupAddress[] | undefined => {
  const rounds = answers[/^([a-z]+)\.rebind\.test$/.exec(host)?.[1] ?? '']
  if (!rounds) return undefined
  const times = asked.get(host) ?? 0
  asked.set(host, times + 1)
  return rounds[times % rounds.length]!.map(address => ({ address, family: address.includes(':') ? 6 : 4 }))
}

type Lookup = (host: string, ...rest: unknown[]) => void

const honest = dns.lookup as Lookup
const lying: Lookup = (host, ...rest) => {
  const found = addressesOf(host)
  if (!found) return honest(host, ...rest)
  const done = rest.at(-1) as (error: null, ...answer: unknown[]) => void
  const isAll = (rest[0] as { all?: boolean }).all === true
  setImmediate(() => (isAll ? done(null, found) : done(null, found[0]!.address, found[0]!.family)))
}
Object.assign(dns, { lookup: Object.assign(lying, dns.lookup) })
syncBuiltinESMExports()
