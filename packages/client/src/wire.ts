import type { Endpoint } from '@comfy-balancer/contract/endpoint'
import type { AnyInput } from './input.ts'
import { pause } from './pause.ts'
import { ProblemError, readProblem, retryAfterSecondsOf } from './problem-error.ts'

export type WireOptions = {
  readonly baseUrl: string | URL
  /** Another fetch than the global one. */
  readonly fetch?: typeof globalThis.fetch
  /** Sent as `Authorization: Bearer …` with every call. */
  readonly apiKey?: string
  /** Sent with every call besides. */
  readonly headers?: Readonly<Record<string, string>>
  /** How long a call may take, retries included; 60 s when left out. */
  readonly timeoutMs?: number
  /** How often a call that is safe to repeat is tried; 4 when left out. */
  readonly tries?: number
}

/** The headers that go with every call to the service. */
export const fixedHeaders = ({
  apiKey,
  headers = {}
}: Pick<WireOptions, 'apiKey' | 'headers'>): Record<string, string> =>
  apiKey === undefined ? { ...headers } : { ...headers, authorization: `Bearer ${apiKey}` }

const firstDelayMs = 200
const maxDelayMs = 5_000

/**
 * Sends one call and gives the answer, whose body is not yet read unless it is JSON; anything but 2xx throws a ProblemError. A call that is
 * safe to repeat (anything but a POST that is no upload and has no idempotency key) is tried again when the network fails, when the answer is
 * 503 (as `Retry-After` says, at most 5 s later), and when it is 429 and `Retry-After` is no more than that.
 */
export type Wire = (endpoint: Endpoint, input: AnyInput) => Promise<Response>

/** Creates the sender of calls to one service. */
export const createWire = (options: WireOptions): Wire => {
  const { baseUrl, fetch = globalThis.fetch, timeoutMs = 60_000, tries = 4 } = options
  const headers = fixedHeaders(options)
  return async (endpoint, input) => {
    const url = urlOf(baseUrl, endpoint, input)
    const init = initOf(endpoint, headers, input)
    const signal = signalOf(input.timeoutMs ?? timeoutMs, input.signal)
    const most = isRepeatable(endpoint, input, init.headers) ? tries : 1
    for (let attempt = 1; ; attempt++) {
      const outcome = await tryOnce(async () => whole(await fetch(url, { ...init, signal })))
      if (outcome instanceof Response && outcome.ok) return outcome
      if (attempt >= most || signal.aborted || !isPassing(outcome)) throw await asError(outcome)
      await pause(delayMs(outcome, attempt), signal)
    }
  }
}

/** JSON is read here, so that an answer that breaks off counts as a failure of the network. */
const whole = async (answer: Response): Promise<Response> =>
  answer.headers.get('content-type')?.includes('json') ? new Response(await answer.text(), answer) : answer

const tryOnce = async (send: () => Promise<Response>): Promise<Response | { failure: unknown }> => {
  try {
    return await send()
  } catch (failure) {
    return { failure }
  }
}

const asError = async (outcome: Response | { failure: unknown }): Promise<unknown> =>
  outcome instanceof Response ? readProblem(outcome) : outcome.failure

const isPassing = (outcome: Response | { failure: unknown }): boolean => {
  if (!(outcome instanceof Response)) return !(outcome.failure instanceof ProblemError)
  return outcome.status === 503 || (outcome.status === 429 && toldMs(outcome) <= maxDelayMs)
}

const toldMs = (answer: Response): number => (retryAfterSecondsOf(answer) ?? Number.NaN) * 1000

/** The same upload again has the same id. */
const isRepeatable = (endpoint: Endpoint, { form }: AnyInput, headers: Headers): boolean =>
  endpoint.method !== 'POST' || form !== undefined || headers.has('idempotency-key')

const delayMs = (outcome: Response | { failure: unknown }, attempt: number): number => {
  const told = outcome instanceof Response ? toldMs(outcome) : Number.NaN
  if (Number.isFinite(told)) return Math.min(told, maxDelayMs)
  return Math.random() * Math.min(firstDelayMs * 2 ** attempt, maxDelayMs)
}

/** Aborts with the caller's signal or at the deadline. Not AbortSignal.any: Node 20 may collect a timeout inside it before it fires. */
const signalOf = (timeoutMs: number, signal: AbortSignal | undefined): AbortSignal => {
  if (!signal) return AbortSignal.timeout(timeoutMs)
  const either = new AbortController()
  const timer: unknown = setTimeout(
    () => either.abort(new DOMException('the call took too long', 'TimeoutError')),
    timeoutMs
  )
  if (typeof timer === 'object') (timer as { unref(): void }).unref()
  if (signal.aborted) either.abort(signal.reason)
  signal.addEventListener('abort', () => either.abort(signal.reason), { once: true })
  return either.signal
}

const urlOf = (baseUrl: string | URL, endpoint: Endpoint, input: AnyInput): URL => {
  const path = endpoint.url.replace(/:([A-Za-z]+)/g, (_, name: string) =>
    encodeURIComponent(String(input.params?.[name]))
  )
  const base = String(baseUrl).replace(/\/+$/, '')
  const url = new URL(base + path)
  for (const [name, value] of Object.entries(input.query ?? {})) {
    if (value !== undefined) url.searchParams.set(name, String(value))
  }
  return url
}

const initOf = (endpoint: Endpoint, fixed: Readonly<Record<string, string>>, input: AnyInput) => {
  const headers = new Headers({ accept: 'application/json, application/problem+json', ...fixed })
  for (const [name, value] of Object.entries(input.headers ?? {})) headers.set(name, value)
  if (input.form !== undefined) return { method: endpoint.method, headers, body: input.form }
  if (input.body === undefined) return { method: endpoint.method, headers }
  headers.set('content-type', 'application/json')
  return { method: endpoint.method, headers, body: JSON.stringify(input.body) }
}
