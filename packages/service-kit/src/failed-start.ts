import { ConfigError } from './config.ts'

/** Says on stderr why a service could not start, and ends it with 1. What is wrong with the configuration needs no stack. */
export const leaveUnstarted = (error: unknown): never => {
  const needsStack = error instanceof Error && !(error instanceof ConfigError)
  process.stderr.write(`${needsStack ? (error.stack ?? error.message) : String(error)}\n`)
  process.exit(1)
}
