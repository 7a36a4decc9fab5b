import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import { Client, type Dispatcher, Pool } from 'undici'
import { ComfyUiError } from './errors.ts'
import { parseJson } from './json.ts'

/** Bounds of one call: the deadline of the whole answer and its size. `signal` gives it up. */
export type CallBounds = {
  readonly timeoutMs?: number | undefined
  readonly maxBytes?: number | undefined
  readonly signal?: AbortSignal | undefined
}

export type Call = CallBounds & {
  readonly method?: 'GET' | 'POST' | 'PATCH'
  readonly path: string
  readonly body?: string | AsyncIterable<Uint8Array>
  readonly headers?: Record<string, string>
  /** On a connection of its own: one that was kept open may be dead, which shows only when the call is lost. */
  readonly isAlone?: boolean
}

/** A whole answer, its body as text. */
export type Answer = { readonly status: number; readonly text: string }

/** The head of an answer and its body as a stream. */
export type OpenAnswer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: Readable }

export type TransportOptions = { readonly url: string; readonly timeoutMs: number; readonly maxBytes: number }

const codeOf = (error: unknown): string => {
  const { code, errors } = error as { code?: string; errors?: unknown[] }
  return code ?? (errors?.[0] ? codeOf(errors[0]) : '')
}

const failure = (error: unknown, path: string): ComfyUiError => {
  if (error instanceof ComfyUiError) return error
  const code = codeOf(error)
  const detail = `ComfyUI did not answer ${path.split('?')[0]}: ${code || (error as Error).message}`
  if (/TIMEOUT|ETIMEDOUT/.test(code)) return new ComfyUiError('comfyui-timeout', detail, { cause: error })
  const refused = code === 'ECONNREFUSED'
  return new ComfyUiError('comfyui-unreachable', detail, { cause: error, refused })
}

/** Calls `run` with a signal that fires at the deadline or with the caller's own, and turns every failure into a ComfyUiError. */
const bounded = async <T>(call: Call, timeoutMs: number, run: (signal: AbortSignal) => Promise<T>): Promise<T> => {
  const limit = new AbortController()
  const late = () =>
    new ComfyUiError('comfyui-timeout', `ComfyUI did not answer ${call.path.split('?')[0]} in ${timeoutMs} ms`)
  const timer = setTimeout(() => limit.abort(late()), timeoutMs)
  const giveUp = () => limit.abort(call.signal?.reason)
  call.signal?.addEventListener('abort', giveUp, { once: true })
  try {
    call.signal?.throwIfAborted()
    return await run(limit.signal)
  } catch (error) {
    if (call.signal?.aborted) throw call.signal.reason
    throw failure(limit.signal.aborted ? limit.signal.reason : error, call.path)
  } finally {
    clearTimeout(timer)
    call.signal?.removeEventListener('abort', giveUp)
  }
}

const readText = async (answer: Dispatcher.ResponseData, call: Call, maxBytes: number): Promise<string> => {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of answer.body) {
    bytes += chunk.length
    if (bytes > maxBytes) {
      throw new ComfyUiError(
        'comfyui-answer',
        `ComfyUI's answer to ${call.path.split('?')[0]} exceeds ${maxBytes} bytes`
      )
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** The parsed body of an answer that must be 200; anything else is a `comfyui-answer`. */
export const jsonOf = ({ status, text }: Answer, path: string): unknown => {
  if (status !== 200) {
    throw new ComfyUiError('comfyui-answer', `ComfyUI answered ${path} with ${status}`, { status })
  }
  try {
    return parseJson(text)
  } catch (cause) {
    throw new ComfyUiError('comfyui-answer', `ComfyUI's answer to ${path} is not JSON`, { cause, status })
  }
}

/** Sends calls to one ComfyUI over a bounded pool of connections. Nothing is ever sent twice. */
export const createTransport = (options: TransportOptions) => {
  const base = new URL(options.url)
  const prefix = base.pathname.replace(/\/+$/, '')
  const connect = { timeout: options.timeoutMs }
  const pool = new Pool(base.origin, { connections: 16, pipelining: 1, connect })

  const request = (call: Call, signal: AbortSignal, bodyTimeout = 0, dispatcher: Dispatcher = pool) =>
    dispatcher.request({
      method: call.method ?? 'GET',
      path: prefix + call.path,
      headers: call.headers ?? {},
      body: (call.body ?? null) as NonNullable<Dispatcher.RequestOptions['body']>,
      headersTimeout: 0,
      bodyTimeout,
      signal
    })

  return {
    /** The whole answer, within its deadline and size. */
    send: (call: Call): Promise<Answer> =>
      bounded(call, call.timeoutMs ?? options.timeoutMs, async signal => {
        const own = call.isAlone ? new Client(base.origin, { connect, pipelining: 0 }) : undefined
        try {
          const answer = await request(call, signal, 0, own)
          const text = await readText(answer, call, call.maxBytes ?? options.maxBytes)
          void own?.close()
          return { status: answer.statusCode, text }
        } catch (error) {
          void own?.destroy()
          throw error
        }
      }),
    /** The answer's head within the deadline; its body then streams as long as no pause exceeds `idleMs`. */
    open: (call: Call, idleMs: number): Promise<OpenAnswer> =>
      bounded(call, call.timeoutMs ?? options.timeoutMs, async signal => {
        const answer = await request(call, signal, idleMs)
        // Whoever reads it gets the error by reading; a body that is let go unread must not end the process.
        answer.body.on('error', () => {})
        return { status: answer.statusCode, headers: answer.headers, body: answer.body }
      }),
    close: (): Promise<void> => pool.destroy()
  }
}

export type Transport = ReturnType<typeof createTransport>
