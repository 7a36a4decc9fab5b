import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

/** Which addresses of others may be called. CIDRs are those that may be called although they are private. */
export type EgressRules = {
  readonly allowPrivateCidrs: readonly string[]
  readonly portsAllow: readonly number[]
  readonly allowHttp: boolean
}

/** Addresses that hand out a cloud's credentials; Azure's counts as public, so no range covers them all. Never called, whatever is allowed. */
const metadataAddresses = new Set(['169.254.169.254', '168.63.129.16', '100.100.100.200', 'fd00:ec2::254'])

const parsedAddress = (address: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined =>
  ipaddr.isValid(address) ? ipaddr.process(address) : undefined

const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3')

/** Of IPv6 only what is given out at all: elsewhere lie old ways to write an IPv4 address, such as ::127.0.0.1. */
const isPublic = (address: ipaddr.IPv4 | ipaddr.IPv6): boolean =>
  address.range() === 'unicast' && (address.kind() === 'ipv4' || address.match(globalUnicast))

/** Whether this text is a range of addresses such as 10.0.0.0/8. */
export const isCidr = (text: string): boolean => ipaddr.isValidCIDR(text)

/** Tells of an IP address in any spelling whether it may be connected to: public, or in a private range that is allowed. */
export const createAddressCheck = (allowPrivateCidrs: readonly string[]): ((address: string) => boolean) => {
  const allowed = allowPrivateCidrs.map(cidr => ipaddr.parseCIDR(cidr))
  return text => {
    const address = parsedAddress(text)
    if (!address || metadataAddresses.has(address.toString())) return false
    if (isPublic(address)) return true
    return allowed.some(([range, bits]) => range.kind() === address.kind() && address.match(range, bits))
  }
}

/** The host of a URL as a socket takes it: an IPv6 address without its brackets. */
export const bareHost = (hostname: string): string => hostname.replace(/^\[|\]$/g, '')

const defaultPorts: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 }

/**
 * Why a URL may not be fetched, as far as its text tells: it does not parse, or its scheme, user, port or literal address is not allowed.
 * Undefined when nothing speaks against it; what its name resolves to shows only when it is fetched.
 */
export const urlFault = (text: string, rules: EgressRules): string | undefined => {
  if (!URL.canParse(text)) return 'is not a URL'
  const { protocol, username, password, hostname, port } = new URL(text)
  if (protocol !== 'https:' && protocol !== 'http:') return `must start with ${schemes(rules)}`
  if (protocol === 'http:' && !rules.allowHttp) return 'must start with https://'
  if (username !== '' || password !== '') return 'must not hold a user name or password'
  if (!rules.portsAllow.includes(port === '' ? defaultPorts[protocol]! : Number(port))) {
    return `must use one of the ports ${rules.portsAllow.join(', ')}`
  }
  const host = bareHost(hostname)
  if (isIP(host) !== 0 && !createAddressCheck(rules.allowPrivateCidrs)(host))
    return 'must not lead to a private address'
  return undefined
}

const schemes = ({ allowHttp }: EgressRules): string => (allowHttp ? 'https:// or http://' : 'https://')
