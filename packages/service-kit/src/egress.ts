import { Client, type Dispatcher } from 'undici'
import { createAddressCheck, type EgressRules, urlFault } from './egress-rules.ts'
import { BlockedAddress, createGuardedConnect, type Resolve } from './guarded-connect.ts'
import { withinLimit } from './within-limit.ts'

/**
 * Why nothing was fetched. `blocked`: the URL, or where it leads, is not allowed; `unreachable`: no whole answer in time; `too-large`: more
 * bytes than allowed; `not-ok`: an answer that is not the file. The message is fit for the caller: it names no address, no network
 * error and no part of the URL; `cause` is for the log.
 */
export type EgressErrorCode = 'blocked' | 'unreachable' | 'too-large' | 'not-ok'

/** A URL of a caller that gave no file. */
export class EgressError extends Error {
  override readonly name = 'EgressError'
  readonly code: EgressErrorCode

  constructor(code: EgressErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options)
    this.code = code
  }
}

/** `maxBytes` bounds one file, `connectMs` (default 5 s) one connection, `totalMs` (default 15 s) one fetch with its redirects. */
export type EgressOptions = EgressRules & {
  readonly maxBytes: number
  readonly connectMs?: number
  readonly totalMs?: number
  /** How names are resolved; by the system unless told. */
  readonly resolve?: Resolve
}

/** A file of a caller: `url` is where it was found in the end, `mediaType` what its server calls it. */
export type FetchedFile = { readonly bytes: Buffer; readonly mediaType: string | undefined; readonly url: string }

/** Gives a fetch up, and bounds it further than the egress does. */
export type FetchBounds = { readonly signal?: AbortSignal | undefined; readonly maxBytes?: number | undefined }

/** A message to a caller's server, and what gives it up. */
export type Message = {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly signal?: AbortSignal | undefined
}

/** What a caller's server said to a message; its body is not read. */
export type MessageAnswer = { readonly status: number; readonly retryAfter: string | undefined }

/** The only way to call what a caller names. */
export type Egress = ReturnType<typeof createEgress>

const maxRedirects = 3
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

const userAgent = 'comfy-balancer'
const headers = { accept: '*/*', 'accept-encoding': 'identity', 'user-agent': userAgent }

type Request = Pick<Dispatcher.RequestOptions, 'method' | 'headers' | 'body' | 'signal'>

type Redirect = { readonly to: string }

/**
 * Fetches files from the URLs of callers, and posts to them, without reaching what only this machine can: only allowed schemes, ports
 * and addresses, checked again at each of at most three redirects, no proxy, no headers of callers, no compression, no more bytes or time
 * than allowed.
 */
export const createEgress = ({ connectMs = 5_000, totalMs = 15_000, ...options }: EgressOptions) => {
  const connect = createGuardedConnect(createAddressCheck(options.allowPrivateCidrs), {
    connectMs,
    resolve: options.resolve
  })
  const closing = new AbortController()

  const call = async <T>(url: string, request: Request, read: (answer: Dispatcher.ResponseData) => Promise<T>) => {
    const fault = urlFault(url, options)
    if (fault !== undefined) throw new EgressError('blocked', `the URL ${fault}`)
    const { origin, pathname, search } = new URL(url)
    const client = new Client(origin, { connect, headersTimeout: totalMs, bodyTimeout: totalMs })
    try {
      const answer = await client.request({ ...request, path: pathname + search })
      answer.body.on('error', () => {})
      return await read(answer)
    } finally {
      void client.destroy()
    }
  }

  const get = (url: string, maxBytes: number, signal: AbortSignal): Promise<FetchedFile | Redirect> =>
    call(url, { method: 'GET', headers, signal }, async answer => {
      if (redirects.has(answer.statusCode)) return { to: targetOfRedirect(answer, url) }
      return { bytes: await readFile(answer, maxBytes), url, mediaType: textOf(answer.headers['content-type']) }
    })

  const follow = async (text: string, maxBytes: number, signal: AbortSignal): Promise<FetchedFile> => {
    let url = text
    for (let redirected = 0; redirected <= maxRedirects; redirected++) {
      const got = await get(url, maxBytes, signal)
      if ('bytes' in got) return got
      url = got.to
    }
    throw new EgressError('not-ok', `the URL redirects more than ${maxRedirects} times`)
  }

  const guarded = async <T>(signal: AbortSignal | undefined, work: (limit: AbortSignal) => Promise<T>): Promise<T> => {
    try {
      return await withinLimit(totalMs, [signal, closing.signal], work)
    } catch (error) {
      signal?.throwIfAborted()
      throw failure(error)
    }
  }

  return {
    /** The file behind a URL, in memory. Throws EgressError, or the reason of the caller's signal. */
    fetch: (url: string, { signal, maxBytes = options.maxBytes }: FetchBounds = {}): Promise<FetchedFile> =>
      guarded(signal, limit => follow(url, Math.min(maxBytes, options.maxBytes), limit)),

    /** Posts a message, follows no redirect and answers with the status. Throws as `fetch` does. */
    post: (url: string, { headers, body, signal }: Message): Promise<MessageAnswer> =>
      guarded(signal, limit =>
        call(url, { method: 'POST', headers: { ...headers, 'user-agent': userAgent }, body, signal: limit }, headOf)
      ),

    /** Gives up what is under way. */
    close: (): void => closing.abort()
  }
}

const targetOfRedirect = ({ headers }: Dispatcher.ResponseData, from: string): string => {
  const location = textOf(headers.location)
  if (location !== undefined && URL.canParse(location, from)) return new URL(location, from).href
  throw new EgressError('not-ok', 'the URL redirects to nowhere')
}

const headOf = async ({ statusCode, headers }: Dispatcher.ResponseData): Promise<MessageAnswer> => ({
  status: statusCode,
  retryAfter: textOf(headers['retry-after'])
})

const textOf = (header: string | string[] | undefined): string | undefined =>
  Array.isArray(header) ? header[0] : header

const readFile = async ({ statusCode, headers, body }: Dispatcher.ResponseData, maxBytes: number): Promise<Buffer> => {
  const tooLarge = new EgressError('too-large', `the file is larger than ${maxBytes} bytes`)
  if (statusCode !== 200) throw new EgressError('not-ok', `the server of the URL answered ${statusCode}`)
  const encoding = textOf(headers['content-encoding']) ?? 'identity'
  if (encoding !== 'identity') throw new EgressError('not-ok', 'the server of the URL sends nothing but compressed')
  if (Number(textOf(headers['content-length']) ?? 0) > maxBytes) throw tooLarge
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > maxBytes) throw tooLarge
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

const failure = (error: unknown): EgressError => {
  if (error instanceof EgressError) return error
  if (isBlocked(error))
    return new EgressError('blocked', 'the URL leads to an address that is not allowed', { cause: error })
  return new EgressError('unreachable', 'the server of the URL did not give the file in time', { cause: error })
}

const isBlocked = (error: unknown): boolean => {
  if (error instanceof BlockedAddress) return true
  const { errors, cause } = (error ?? {}) as { errors?: unknown[]; cause?: unknown }
  return cause !== undefined ? isBlocked(cause) : (errors ?? []).some(isBlocked)
}
