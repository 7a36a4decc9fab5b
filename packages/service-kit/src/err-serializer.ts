/** An error as it stands in the log: bounded, without foreign properties, without credentials. */
export type LoggedError = {
  type: string
  message: string
  stack?: string
  code?: string | number
  cause?: LoggedError
}

const maxMessage = 4096
const maxStack = 8192
const maxCauses = 3

/** Takes credentials out of a text: user and password of URLs, and query parameters that hold secrets. */
export const scrub = (text: string): string =>
  text
    .replace(/\/\/[^/\s@]*:[^/\s]*@/g, '//[redacted]@')
    .replace(/([?&](?:token|key|sig|signature|password|secret|apikey|api_key)=)[^&\s"']+/gi, '$1[redacted]')

/**
 * Pino's serializer for `err`. It picks fields rather than copying, since clients hang requests, commands and credentials on their
 * errors; causes are followed three deep.
 */
export const serializeError = (error: unknown, depth = 0): LoggedError => {
  if (!(error instanceof Error)) return { type: typeof error, message: scrub(String(error).slice(0, maxMessage)) }
  const { code } = error as NodeJS.ErrnoException
  const logged: LoggedError = { type: error.name, message: scrub(error.message.slice(0, maxMessage)) }
  if (error.stack !== undefined) logged.stack = scrub(error.stack.slice(0, maxStack))
  if (typeof code === 'string' || typeof code === 'number') logged.code = code
  if (error.cause !== undefined && depth < maxCauses) logged.cause = serializeError(error.cause, depth + 1)
  return logged
}
