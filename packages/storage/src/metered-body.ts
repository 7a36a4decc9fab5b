import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { type ObjectBody, type PutLimits, type PutResult, StorageError } from './object-store.ts'

/** A body on its way into a store. */
export type MeteredBody = {
  /** The bytes, once. Throws StorageError `too-large` or `interrupted`. */
  readonly chunks: () => AsyncGenerator<Uint8Array>
  /** What went through so far. */
  readonly measured: () => PutResult
  /** Lets go of a source that was not read to its end. */
  readonly abandon: () => void
}

/** Counts and hashes a body while it streams, and ends it at the size limit or when the signal says so. */
export const meterBody = (body: ObjectBody, { maxBytes, signal }: PutLimits): MeteredBody => {
  const hash = createHash('sha256')
  let bytes = 0
  return {
    chunks: async function* () {
      for await (const chunk of chunksOf(body, signal)) {
        bytes += chunk.byteLength
        if (bytes > maxBytes) throw new StorageError('too-large', `the object is larger than ${maxBytes} bytes`)
        hash.update(chunk)
        yield chunk
      }
    },
    measured: () => ({ bytes, sha256: hash.copy().digest('hex') }),
    abandon: () => {
      if (body instanceof Readable) body.destroy()
    }
  }
}

async function* chunksOf(body: ObjectBody, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  if (signal?.aborted) throw new StorageError('interrupted', 'given up before it began', { cause: signal.reason })
  if (body instanceof Uint8Array) return yield body
  const source = body[Symbol.asyncIterator]()
  try {
    for (;;) {
      const { value, done } = await nextOf(source, signal)
      if (done) return
      yield typeof value === 'string' ? Buffer.from(value) : value
    }
  } finally {
    source.return?.()?.catch(() => undefined)
  }
}

/** A source that hangs must not hold up its own end, so neither is waited for once the signal has spoken. */
const nextOf = async <T>(source: AsyncIterator<T>, signal?: AbortSignal): Promise<IteratorResult<T>> => {
  let abort = (): void => {}
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal?.reason)
  })
  signal?.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([source.next(), aborted])
  } catch (cause) {
    throw new StorageError('interrupted', 'the bytes to store broke off', { cause })
  } finally {
    signal?.removeEventListener('abort', abort)
  }
}
