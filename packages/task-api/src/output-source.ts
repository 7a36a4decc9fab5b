import type { Readable } from 'node:stream'
import type { StoredOutput } from '@comfy-balancer/task-store/manifest'
import type { TaskRecord } from '@comfy-balancer/task-store/task-record'
import { contentDisposition } from './content-disposition.ts'
import type { ByteRange } from './deps.ts'
import type { NodeOutputs } from './node-outputs.ts'

/** An output, whose task it is of, and on whose behalf it is read. */
export type WantedOutput = {
  readonly record: TaskRecord
  readonly output: StoredOutput
  readonly range: ByteRange | undefined
  /** As the caller sent it, for the node that keeps the output. */
  readonly authorization: string | undefined
  /** Another service asks already: it must not be asked in turn. */
  readonly isPassedOn: boolean
}

/** Where the bytes of outputs come from. */
export type OutputSource = {
  /** Opens them; undefined when they cannot be had now. */
  open(wanted: WantedOutput): Promise<Readable | undefined>
  /** An address at the store itself; undefined where the store has none. */
  signedUrl(output: StoredOutput): Promise<string | undefined>
}

/** The part of a store that is needed here. */
export type ReadableStore = {
  open(path: string, range?: ByteRange): Promise<{ readonly stream: Readable } | undefined>
  readonly signedUrl?: (
    path: string,
    use: { readonly contentType: string; readonly contentDisposition: string; readonly expiresSeconds: number }
  ) => Promise<string>
}

export type OutputSourceDeps = {
  /** Of all services, or of this one alone; undefined where nodes keep the outputs and this is none. */
  readonly store: ReadableStore | undefined
  readonly nodeOutputs: NodeOutputs
  /** This node, when its store is its own. */
  readonly self?: string
}

/** Long enough to begin a download; one that has begun goes on. */
const signedSeconds = 300

/** Finds the bytes of an output: in the store, or with the node that keeps it. */
export const createOutputSource = ({ store, nodeOutputs, self }: OutputSourceDeps): OutputSource => ({
  async open(wanted) {
    const { record, output, range, isPassedOn } = wanted
    if (output.durable || (self !== undefined && record.node === self))
      return (await store?.open(output.path, range))?.stream
    return isPassedOn ? undefined : nodeOutputs.open(wanted)
  },

  async signedUrl({ path, filename, mediaType, durable }) {
    if (!durable) return undefined
    const use = { contentType: mediaType, contentDisposition: contentDisposition(filename, mediaType) }
    return store?.signedUrl?.(path, { ...use, expiresSeconds: signedSeconds })
  }
})
