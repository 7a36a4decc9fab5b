import { isIPv4 } from 'node:net'
import { type Static, type TObject, Type } from '@sinclair/typebox'
import { type ConfigRule, hostString } from './config.ts'

const Port = Type.Integer({ minimum: 0, maximum: 65_535 })

/** The variables that every service has; the ports differ. Pass `serviceRule` to `readConfig` with them. */
export const serviceConfig = (defaults: { readonly port: number; readonly logdyPort: number }) => ({
  HOST: hostString({
    default: '127.0.0.1',
    description: 'Address to listen on; beyond loopback AUTH_MODE must be set'
  }),
  PORT: Type.Integer({ ...Port, default: defaults.port, description: 'Port to listen on; 0: any free one' }),
  LOG_LEVEL: Type.Unsafe<LogLevel>(
    Type.String({
      default: 'info',
      pattern: '^(trace|debug|info|warn|error|fatal|silent)$',
      rule: 'must be one of trace, debug, info, warn, error, fatal, silent',
      description: 'The least level that is logged: trace, debug, info, warn, error, fatal, or silent'
    })
  ),
  LOG_LOGDY_HOST: Type.Optional(
    hostString({ description: 'Where logdy listens, a viewer of the log. Absent: no logdy' })
  ),
  LOG_LOGDY_PORT: Type.Integer({
    minimum: 1,
    maximum: 65_535,
    default: defaults.logdyPort,
    description: "logdy's port for this service"
  }),
  LOG_LOGDY_QUEUE_BYTES: Type.Integer({
    minimum: 65_536,
    maximum: 1_073_741_824,
    default: 8_388_608,
    description: 'Of lines that may wait for logdy; beyond it the oldest give way'
  }),
  BODY_LIMIT_BYTES: Type.Integer({
    minimum: 1024,
    maximum: 1_073_741_824,
    default: 10_485_760,
    description: 'Of one request'
  }),
  BODY_SECONDS: Type.Integer({
    minimum: 1,
    maximum: 3_600,
    default: 30,
    description: 'How long a body may take to arrive; uploads have an hour'
  }),
  JSON_MAX_DEPTH: Type.Integer({ minimum: 4, maximum: 512, default: 64, description: 'Nesting of a JSON body' }),
  AUTH_MODE: Type.Optional(
    Type.Unsafe<'none' | 'keys'>(
      Type.String({
        pattern: '^(none|keys)$',
        rule: 'must be keys or none',
        description:
          'keys: callers need an API key (npm run keys); none: everybody is one tenant. Default on loopback: none'
      })
    )
  ),
  SHUTDOWN_SECONDS: Type.Integer({ minimum: 1, maximum: 3600, default: 25, description: 'From SIGTERM to the end' })
})

/** How much is logged. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'

/** What every service is told. */
export type ServiceConfig = Static<TObject<ReturnType<typeof serviceConfig>>>

/** Whether an address to listen on is reachable from this machine only. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))

/** Refuses to serve without authentication beyond this machine unless that was said in so many words. */
export const serviceRule: ConfigRule<ServiceConfig> = values => {
  if (values.HOST === undefined || isLoopback(values.HOST) || values.AUTH_MODE !== undefined) return []
  const message = `must be set because HOST ${JSON.stringify(values.HOST)} is reachable from other machines; AUTH_MODE=keys asks for API keys, AUTH_MODE=none serves anybody who can connect`
  return [{ name: 'AUTH_MODE', message }]
}

/** The sentence to warn with at start when anybody who can connect may use the service, or undefined. */
export const authWarning = (config: Pick<ServiceConfig, 'HOST' | 'AUTH_MODE'>): string | undefined =>
  config.AUTH_MODE === 'none' ? 'no authentication: anybody who can connect may use this service' : undefined

/** The logger's option for logdy as configured: nothing without a host. */
export const logdyOptions = (config: ServiceConfig) =>
  config.LOG_LOGDY_HOST === undefined
    ? {}
    : { logdy: { host: config.LOG_LOGDY_HOST, port: config.LOG_LOGDY_PORT, queueBytes: config.LOG_LOGDY_QUEUE_BYTES } }
