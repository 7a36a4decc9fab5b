import type { Readable } from 'node:stream'

/**
 * What went wrong while storing or reading. `interrupted` means that the source of the bytes broke off, `unavailable` that the store
 * could not be reached and may be back soon.
 */
export type StorageErrorCode =
  | 'too-large'
  | 'no-space'
  | 'not-writable'
  | 'unavailable'
  | 'unsafe-path'
  | 'bad-range'
  | 'interrupted'

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

/** The bytes to store: a whole buffer, or a stream of unknown length. */
export type ObjectBody = Readable | AsyncIterable<Uint8Array> | Uint8Array

/** How large an object may be, and what ends its storing early. */
export type PutLimits = { readonly maxBytes: number; readonly signal?: AbortSignal }

/** What was stored. */
export type PutResult = { readonly bytes: number; readonly sha256: string }

/** An object that is open for reading. The caller reads or destroys the stream. */
export type OpenObject = {
  readonly stream: Readable
  /** Size of the whole object. */
  readonly bytes: number
  readonly start: number
  readonly end: number
}

/** An object of the store; `modifiedMs` is by the store's own clock. */
export type StoredObject = { readonly path: string; readonly bytes: number; readonly modifiedMs: number }

/** Which part of a listing is wanted: at most `limit` objects (default 1,000), those that come after the path `after`. */
export type Page = { readonly limit?: number; readonly after?: string }

/** How an address is to answer: the headers that the store sends with the bytes, and for how long it works. */
export type SignedUse = {
  readonly contentType: string
  readonly contentDisposition: string
  readonly expiresSeconds: number
}

/** Where bytes are kept: a folder or S3. Paths are relative, with `/`; no segment is empty or begins with a dot. */
export type ObjectStore = {
  /** Stores a stream in constant memory; the path exists only when all bytes do. Throws StorageError. */
  put(path: string, body: ObjectBody, limits: PutLimits): Promise<PutResult>
  /** Opens an object, or part of it; undefined when there is none. Throws StorageError `bad-range` beyond the end. */
  open(path: string, range?: ByteRange): Promise<OpenObject | undefined>
  /** What is known of an object; undefined when there is none. */
  stat(path: string): Promise<StoredObject | undefined>
  /** Removes an object, or all that is below a path; nothing there is as good as removed. */
  remove(prefix: string): Promise<void>
  /** Objects below a path, in the order of their whole paths. */
  list(prefix: string, page?: Page): Promise<readonly StoredObject[]>
  /** An address that gives the bytes to anybody who has it; only where the store can answer by itself. */
  readonly signedUrl?: (path: string, use: SignedUse) => Promise<string>
  close(): Promise<void>
}
