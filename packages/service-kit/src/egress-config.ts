import { type Static, type TObject, Type } from '@sinclair/typebox'
import type { ConfigFault, ConfigRule } from './config.ts'
import { type EgressRules, isCidr } from './egress-rules.ts'

/** The variables that say which URLs of callers may be fetched; pass `egressRule` to `readConfig` with them. */
export const egressConfig = {
  EGRESS_ALLOW_PRIVATE_CIDRS: Type.String({
    default: '',
    description: 'Private ranges that input URLs may lead to, comma-separated, such as 10.20.0.0/16'
  }),
  EGRESS_PORTS_ALLOW: Type.String({
    default: '80,443',
    pattern: '^\\s*\\d{1,5}\\s*(,\\s*\\d{1,5}\\s*)*$',
    rule: 'must be ports, comma-separated',
    description: 'Ports that input URLs and webhooks may name'
  }),
  EGRESS_ALLOW_HTTP: Type.Boolean({ default: true, description: 'Whether input URLs may be http://' }),
  INPUT_MAX_BYTES: Type.Integer({
    minimum: 1024,
    maximum: 2_147_483_647,
    default: 67_108_864,
    description: 'Of one input'
  })
}

/** Which URLs of callers may be fetched, as configured. */
export type EgressConfig = Static<TObject<typeof egressConfig>>

const words = (text: string): string[] =>
  text
    .split(',')
    .map(word => word.trim())
    .filter(word => word !== '')

/** Refuses ranges that are none and ports that cannot be. */
export const egressRule: ConfigRule<EgressConfig> = values => {
  const faults: ConfigFault[] = []
  const wrong = words(values.EGRESS_ALLOW_PRIVATE_CIDRS ?? '').filter(cidr => !isCidr(cidr))
  if (wrong.length > 0) {
    const message = `must be ranges such as 10.20.0.0/16, comma-separated (not ranges: ${wrong.join(', ')})`
    faults.push({ name: 'EGRESS_ALLOW_PRIVATE_CIDRS', message })
  }
  if (words(values.EGRESS_PORTS_ALLOW ?? '').some(port => Number(port) < 1 || Number(port) > 65_535)) {
    faults.push({ name: 'EGRESS_PORTS_ALLOW', message: 'must be ports from 1 to 65535, comma-separated' })
  }
  return faults
}

/** The rules that the configuration states. */
export const egressRulesOf = (config: EgressConfig): EgressRules => ({
  allowPrivateCidrs: words(config.EGRESS_ALLOW_PRIVATE_CIDRS),
  portsAllow: words(config.EGRESS_PORTS_ALLOW).map(Number),
  allowHttp: config.EGRESS_ALLOW_HTTP
})
