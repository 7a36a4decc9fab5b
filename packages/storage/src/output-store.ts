import type { Readable } from 'node:stream'

/** What went wrong while storing or reading. `interrupted` means that the source of the bytes broke off. */
export type StorageErrorCode = 'too-large' | 'no-space' | 'not-writable' | 'unsafe-path' | 'bad-range' | 'interrupted'

/** Thrown by a store; match on `code`. The cause is kept, the message names no folder of this machine. */
export class StorageError extends Error {
  readonly code: StorageErrorCode

  constructor(code: StorageErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'StorageError'
    this.code = code
  }
}

/** First and last byte to read, both included, counted from 0; without `end` to the end. */
export type ByteRange = { readonly start: number; readonly end?: number }

/** A file that is open for reading. The caller reads or destroys the stream. */
export type OpenOutput = {
  readonly stream: Readable
  /** Size of the whole file. */
  readonly bytes: number
  readonly start: number
  readonly end: number
}

/** A file of the store. */
export type StoredOutput = { readonly path: string; readonly bytes: number }

/** Where outputs are kept: a folder now, S3 later. Paths are relative, with `/`, as `outputPath` makes them. */
export type OutputStore = {
  /** Stores a stream in constant memory; the path exists only when all bytes do. Throws StorageError. */
  put(
    path: string,
    body: Readable | AsyncIterable<Uint8Array> | Uint8Array,
    limits: { readonly maxBytes: number; readonly signal?: AbortSignal }
  ): Promise<{ readonly bytes: number; readonly sha256: string }>
  /** Opens a file, or part of it; undefined when there is none. Throws StorageError `bad-range` beyond the end. */
  open(path: string, range?: ByteRange): Promise<OpenOutput | undefined>
  /** Removes a file, or a folder with all that is in it; nothing there is as good as removed. */
  remove(prefix: string): Promise<void>
  /** Files below a folder in order of their names, at most `limit` (default 1,000). */
  list(prefix: string, limit?: number): Promise<readonly StoredOutput[]>
}
