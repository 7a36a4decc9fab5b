import { type LookupAddress, lookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import { buildConnector } from 'undici'
import { bareHost } from './egress-rules.ts'

/** Thrown when an address that may not be called would have been. The message is for the log only. */
export class BlockedAddress extends Error {
  readonly code = 'blocked-address'
}

/** Resolves a name to its addresses. */
export type Resolve = (host: string, done: (error: Error | null, addresses: LookupAddress[]) => void) => void

const resolveAll: Resolve = (host, done) =>
  lookup(host, { all: true }, (error, addresses) => done(error, addresses ?? []))

/**
 * A connector for undici that connects to allowed addresses only. Three checks, for none suffices: a literal address is never looked up,
 * every answer of the name service must be allowed (and is the one connected to), and so must be the peer in the end.
 */
export const createGuardedConnect = (
  isAllowed: (address: string) => boolean,
  { connectMs, resolve = resolveAll }: { readonly connectMs: number; readonly resolve?: Resolve | undefined }
): buildConnector.connector => {
  const guardedLookup: LookupFunction = (host, options, done) =>
    resolve(host, (error, addresses) => {
      const bad = addresses.find(({ address }) => !isAllowed(address))
      const [first] = addresses
      if (error) done(error, '')
      else if (bad) done(new BlockedAddress(`${host} resolves to ${bad.address}`), '')
      else if (!first) done(new Error(`${host} has no address`), '')
      else if (options.all) done(null, addresses)
      else done(null, first.address, first.family)
    })
  const connect = buildConnector({ timeout: connectMs, lookup: guardedLookup })
  return (options, done) => {
    const host = bareHost(options.hostname)
    if (isIP(host) !== 0 && !isAllowed(host)) return done(new BlockedAddress(`${host} is not allowed`), null)
    connect(options, (error, socket) => {
      if (error || !socket) return done(error ?? new Error('no socket'), null)
      if (isAllowed(socket.remoteAddress ?? '')) return done(null, socket)
      socket.destroy()
      done(new BlockedAddress(`the peer is ${socket.remoteAddress}`), null)
    })
  }
}
