import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { inputHeadBytes, inspectInput } from '@comfy-balancer/domain/input-file'
import { mediaTypeOf } from '@comfy-balancer/domain/media-type'
import { type Egress, EgressError } from '@comfy-balancer/service-kit/egress'
import type { InputRecord, Inputs } from '@comfy-balancer/task-store/inputs'
import { extensionOf } from './extension.ts'
import { InputUnavailable } from './input-unavailable.ts'
import type { WantedFile } from './wanted-files.ts'

/** A file that is to be had: its content's digest and size, the extension to keep it under, and its bytes, to be read once. */
export type ShelfFile = {
  readonly sha256: string
  readonly bytes: number
  readonly extension: string
  readonly open: () => Promise<Uint8Array | AsyncIterable<Uint8Array>>
}

export type InputShelfDeps = {
  readonly egress: Pick<Egress, 'fetch'>
  readonly uploads: Pick<Inputs, 'find'>
  readonly store: { readonly open: (path: string) => Promise<{ readonly stream: Readable } | undefined> }
  readonly maxPixels: number
}

/** Whose task it is, and what gives the search up. */
export type Search = { readonly tenant: string; readonly signal: AbortSignal }

/** Gets the files that come along with a task. Throws InputUnavailable, or the signal's reason. */
export type InputShelf = (file: WantedFile, search: Search) => Promise<ShelfFile>

export const createInputShelf = ({ egress, uploads, store, maxPixels }: InputShelfDeps): InputShelf => {
  const fetched = async (url: string, file: WantedFile, signal: AbortSignal): Promise<ShelfFile> => {
    const found = await fetchFile(url, file, egress, signal)
    const { flaw } = inspectInput('', found.bytes.subarray(0, inputHeadBytes), maxPixels)
    if (flaw !== undefined) throw new InputUnavailable('flawed', `${placeOf(file)} cannot be used: ${flaw}`)
    return {
      sha256: createHash('sha256').update(found.bytes).digest('hex'),
      bytes: found.bytes.length,
      extension: extensionOf(mediaTypeOf('', found.bytes.subarray(0, 64)), [
        new URL(found.url).pathname,
        ...namesOf(file)
      ]),
      open: async () => found.bytes
    }
  }

  const uploaded = async (id: string, file: WantedFile, tenant: string): Promise<ShelfFile> => {
    const record = await uploads.find(tenant, id)
    if (!record) throw new InputUnavailable('missing', `${placeOf(file)} is not there any more: ${id}`)
    const { sha256, bytes, mediaType } = record
    return { sha256, bytes, extension: extensionOf(mediaType, namesOf(file)), open: () => open(record, file) }
  }

  const open = async ({ path }: InputRecord, file: WantedFile): Promise<AsyncIterable<Uint8Array>> => {
    const found = await store.open(path).catch(cause => {
      throw unreadable(file, cause)
    })
    if (!found) throw unreadable(file)
    return watched(found.stream, file)
  }

  return (file, { tenant, signal }) =>
    'url' in file.source ? fetched(file.source.url, file, signal) : uploaded(file.source.upload, file, tenant)
}

const namesOf = ({ places }: WantedFile): string[] => places.flatMap(({ name }) => name ?? [])

/** How a caller knows the file: by its name, or by the first input that has its URL. */
const placeOf = ({ places: [place] }: WantedFile): string =>
  place?.name === undefined ? `the input ${place?.input} of graph node ${place?.graphNode}` : `the file ${place.name}`

const fetchFile = async (url: string, file: WantedFile, egress: Pick<Egress, 'fetch'>, signal: AbortSignal) => {
  try {
    return await egress.fetch(url, { signal })
  } catch (error) {
    if (!(error instanceof EgressError)) throw error
    const detail = `${placeOf(file)} could not be fetched: ${error.message}`
    throw new InputUnavailable(error.code, detail, { cause: error })
  }
}

const unreadable = (file: WantedFile, cause?: unknown): InputUnavailable =>
  new InputUnavailable('unreachable', `${placeOf(file)} could not be read from the store`, { cause })

/** Says of bytes that break off whose fault it was: the upload they are part of fails too, and that looks like ComfyUI's. */
async function* watched(stream: Readable, file: WantedFile): AsyncGenerator<Uint8Array> {
  try {
    yield* stream
  } catch (cause) {
    throw unreadable(file, cause)
  }
}
