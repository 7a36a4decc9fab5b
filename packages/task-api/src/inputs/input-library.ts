import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { InputRecord, OverInputQuota, StoredInput } from '@comfy-balancer/task-store/inputs'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import { fromLedger } from '../ledger-errors.ts'
import { type CallersFile, createInspectedBody } from './inspected-body.ts'

/** The store of files that callers bring; failures carry a `code`. */
export type InputFiles = {
  readonly put: (
    tenant: string,
    body: AsyncIterable<Uint8Array>,
    maxBytes: number
  ) => Promise<{ readonly path: string; readonly bytes: number; readonly sha256: string }>
  readonly remove: (path: string) => Promise<void>
}

/** Where there is no store that all services share, files can come along by URL only. */
export const noInputFiles: InputFiles = {
  put: async () => {
    throw new Refusal(
      'store-unavailable',
      'Files are kept only in a store that all services share; OUTPUT_STORE is node'
    )
  },
  remove: async () => {}
}

/** Of one input: its size, and that of an image; and how long one is kept after its last use. */
export type InputLimits = { readonly maxBytes: number; readonly maxPixels: number; readonly keepMs: number }

export type InputLibraryDeps = {
  readonly ledger: Ledger
  readonly files: InputFiles
  readonly limits: InputLimits
}

/** The files that tenants bring, each known by its content. */
export type InputLibrary = ReturnType<typeof createInputLibrary>

/** A request's files: `pointer` is where in it the file stands. */
type Brought = CallersFile & { readonly pointer: string }

export const createInputLibrary = ({ ledger, files, limits }: InputLibraryDeps) => ({
  limits,

  /** Puts a file into the store, in constant memory. It is not known before `keep`. Throws a Refusal. */
  async put(tenant: string, file: Brought): Promise<StoredInput> {
    const inspected = createInspectedBody(file, limits.maxPixels)
    try {
      const stored = await files.put(tenant, inspected.bytes(), limits.maxBytes)
      return { ...stored, mediaType: inspected.verdict()!.mediaType }
    } catch (error) {
      const flaw = inspected.verdict()?.flaw
      if (flaw !== undefined) throw flawed(file.pointer, flaw)
      throw asRefusal(error, limits.maxBytes)
    }
  },

  /** Makes a stored file known under its content, for its usual time or longer. */
  async keep(tenant: string, stored: StoredInput, atLeastMs = 0): Promise<InputRecord> {
    try {
      const kept = await fromLedger(ledger.inputs.add(tenant, stored, Math.max(limits.keepMs, atLeastMs)))
      if ('kind' in kept) throw overQuota(stored.bytes, kept)
      return kept
    } catch (error) {
      await files.remove(stored.path).catch(() => undefined)
      throw error
    }
  },

  /** Forgets a stored file that is not known yet. */
  drop: ({ path }: StoredInput): Promise<void> => files.remove(path),

  /** Keeps a tenant's file for at least so long; undefined when there is none of that id. */
  use: (tenant: string, id: string, atLeastMs: number): Promise<InputRecord | undefined> =>
    fromLedger(ledger.inputs.use(tenant, id, Math.max(limits.keepMs, atLeastMs))),

  /** Removes what has expired. Any number of services may do it at a time. */
  async sweep(): Promise<void> {
    const paths = await ledger.inputs.forget()
    for (const path of paths) {
      await files.remove(path)
      await ledger.inputs.removed([path])
    }
  }
})

const overQuota = (bytes: number, { keptBytes, mostBytes, againMs }: OverInputQuota): Refusal =>
  bytes > mostBytes
    ? new Refusal(
        'payload-too-large',
        `the file has ${bytes} bytes; all of your uploads together may have ${mostBytes}`
      )
    : new Refusal(
        'quota-exceeded',
        `your uploads have ${keptBytes} bytes, and ${bytes} more would be beyond ${mostBytes}; each is forgotten some time after its last use`,
        { retryAfterSeconds: againMs / 1_000 }
      )

const flawed = (pointer: string, detail: string): Refusal =>
  new Refusal('input-invalid', detail, { errors: [{ pointer, code: 'input-invalid', detail }] })

const asRefusal = (error: unknown, maxBytes: number): unknown => {
  switch ((error as { code?: string }).code) {
    case 'too-large':
      return new Refusal('payload-too-large', `the file is larger than ${maxBytes} bytes`)
    case 'interrupted':
      return new Refusal('validation-failed', 'the body ended before the file did')
    case 'no-space':
    case 'not-writable':
    case 'unavailable':
      return new Refusal('store-unavailable', 'the store cannot take files now', { retryAfterSeconds: 30 })
    default:
      return error
  }
}
