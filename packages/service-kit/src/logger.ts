import { pino } from 'pino'
import { serializeError } from './err-serializer.ts'
import type { LogdyStats, LogdyTransportOptions } from './logdy-transport.ts'
import type { LogLevel } from './service-config.ts'

/** The logger of a service: pino. */
export type Logger = pino.Logger

/** Who logs, how much, and where logdy is. */
export type LoggerOptions = {
  readonly service: string
  readonly instance: string
  readonly level: LogLevel
  readonly logdy?: { readonly host: string; readonly port: number; readonly queueBytes?: number }
  /** Where the record goes instead of stdout; for tests. */
  readonly destination?: pino.DestinationStream
}

const redactPaths = [
  'req.headers.authorization',
  'req.headers.cookie',
  'req.headers["x-api-key"]',
  ...['password', 'apiKey', 'token', 'secret', 'authorization'].flatMap(name => [name, `*.${name}`]),
  'redisUrl',
  'webhook.url',
  'REDIS_URL',
  'REDIS_PASSWORD'
]
const logdyFlushMs = 500
const closeMs = 1500

/**
 * Makes the logger of a service. JSON lines on stdout are the record and are written by the main thread; logdy gets the same lines
 * through pino's worker and can never delay, block or lose them. `close` ends logdy's part; stdout stays usable until the process ends.
 *
 * Every line at error level, and every line with `err`, carries `errorSource`: 'ours' unless the line says 'comfyui', as in
 * `logger.error({ errorSource: 'comfyui', taskId, err }, 'graph node failed')` or through `logger.child({ errorSource: 'comfyui' })`.
 */
export const createLogger = (
  options: LoggerOptions
): { logger: Logger; close: () => Promise<void>; logdy: () => LogdyStats | undefined } => {
  const stdout = options.destination ?? pino.destination({ fd: 1, sync: false })
  const streams = pino.multistream([{ level: 'trace', stream: stdout }])
  const { service, instance } = options
  const logger = pino(
    {
      level: options.level,
      base: { service, instance },
      serializers: { err: (error: unknown) => serializeError(error) },
      redact: { paths: redactPaths, censor: '[redacted]' },
      mixin: errorSource
    },
    streams
  )
  const logdy = options.logdy === undefined ? undefined : addLogdy(options.logdy, service, logger, streams)
  const close = async (): Promise<void> => {
    await logdy?.close()
    const { flush } = stdout as { flush?: (done: () => void) => void }
    if (flush !== undefined) await within(closeMs, done => flush.call(stdout, done))
  }
  return { logger, close, logdy: () => logdy?.stats() }
}

const errorLevel = 50

const errorSource = (fields: object, level: number, logger: Logger): object => {
  if (level < errorLevel && !('err' in fields)) return {}
  if ('errorSource' in fields || 'errorSource' in logger.bindings()) return {}
  return { errorSource: 'ours' }
}

type Streams = pino.MultiStreamRes<string> & { lastId?: number }

const addLogdy = (logdy: NonNullable<LoggerOptions['logdy']>, service: string, logger: Logger, streams: Streams) => {
  const options: LogdyTransportOptions = {
    host: logdy.host,
    port: logdy.port,
    service,
    queueBytes: logdy.queueBytes ?? 8_388_608,
    flushMs: logdyFlushMs
  }
  const target = new URL('./logdy-transport.js', import.meta.url).href
  const transport = pino.transport({ target, options })
  streams.add({ level: 'trace', stream: transport })
  const id = streams.lastId ?? 0
  let stats: LogdyStats | undefined
  transport.on('logdy', (latest: LogdyStats) => {
    stats = latest
  })
  transport.on('error', (err: Error) => {
    streams.remove(id)
    logger.error({ event: 'log.sink_lost', errorSource: 'ours', err }, 'logdy is given up; the log goes on at stdout')
  })
  let isClosed = false
  transport.on('close', () => {
    isClosed = true
  })
  const close = async (): Promise<void> => {
    streams.remove(id)
    if (isClosed) return
    await within(closeMs, done => {
      transport.on('close', done)
      transport.end()
    })
  }
  return { close, stats: () => stats }
}

const within = (limitMs: number, begin: (done: () => void) => void): Promise<void> =>
  new Promise(resolve => {
    const limit = setTimeout(resolve, limitMs)
    begin(() => {
      clearTimeout(limit)
      resolve()
    })
  })
