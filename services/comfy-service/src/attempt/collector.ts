import type { ComfyUiHttp } from '@comfy-balancer/comfyui/http'
import { type FoundOutput, findOutputs } from '@comfy-balancer/comfyui/outputs'
import type { Verdict } from '@comfy-balancer/comfyui/verdict'
import { mediaTypeOf } from '@comfy-balancer/domain/media-type'
import type { OutputFormat } from '@comfy-balancer/domain/output-format'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { ObjectStore } from '@comfy-balancer/storage/object-store'
import { outputPath } from '@comfy-balancer/storage/output-path'
import type { StoredOutput } from '@comfy-balancer/task-store/manifest'
import { untilStored } from './until-stored.ts'

/** ComfyUI named an output that it then did not hand out. */
export class OutputMissing extends Error {
  readonly code = 'output-missing'
}

export type CollectorOptions = {
  readonly tenant: string
  readonly task: string
  readonly token: string
  readonly attempt: number
  readonly workflow: Workflow
  /** What PNG pictures are converted to; undefined when they stay as they are. */
  readonly format: OutputFormat | undefined
  readonly maxBytes: number
  /** Whether what is stored outlives this node. */
  readonly durable: boolean
  readonly signal: AbortSignal
}

export type CollectorDeps = {
  readonly http: ComfyUiHttp
  readonly store: ObjectStore
  readonly log: Log
  /** Called with all outputs stored so far after each. */
  readonly onStored: (outputs: readonly StoredOutput[]) => void
}

export type Collector = ReturnType<typeof createCollector>

const headBytes = 64

/** Brings an attempt's outputs from ComfyUI into the store, one after the other: as their graph nodes finish, and the rest at the end. */
export const createCollector = (options: CollectorOptions, { http, store, log, onStored }: CollectorDeps) => {
  const stored: StoredOutput[] = []
  const known = new Set<string>()
  let chain: Promise<void> = Promise.resolve()
  let failure: unknown

  const storeOne = async (found: FoundOutput, key: string): Promise<void> => {
    if (known.has(key) || options.signal.aborted) return
    known.add(key)
    const index = stored.length
    const filename = nameOf(found, index, formatOf(found))
    const { tenant, task, token, attempt, durable } = options
    const path = outputPath({ tenant, taskId: task, token, index, filename })
    const { mediaType, bytes, sha256 } = await untilStored(() => put(path, found, filename), options.signal, log)
    const { graphNode, kind } = found
    stored.push({ attempt, index, path, filename, mediaType, bytes, sha256, graphNode, kind, durable })
    onStored([...stored])
  }

  const formatOf = (found: FoundOutput) => (isConvertible(found) ? options.format : undefined)

  const put = async (path: string, found: FoundOutput, filename: string) => {
    const { maxBytes, signal } = options
    const { bytes: body, mediaType } = await open(found, filename)
    return { mediaType, ...(await store.put(path, body, { maxBytes, signal })) }
  }

  const open = async (found: FoundOutput, filename: string) => {
    if (found.source === 'text') return { bytes: Buffer.from(found.text), mediaType: 'text/plain; charset=utf-8' }
    if (found.source === 'websocket') return { bytes: found.bytes, mediaType: found.mediaType }
    const convertTo = formatOf(found)
    const answer = await http.view(found, convertTo ? { convertTo } : {})
    if (answer.status !== 200) {
      answer.body.destroy()
      throw new OutputMissing(`ComfyUI answered ${answer.status} for ${filename}`)
    }
    return sniffed(answer.body, filename)
  }

  const enqueue = (found: readonly FoundOutput[]): void => {
    chain = chain.then(async () => {
      try {
        for (const [one, key] of withKeys(found)) if (failure === undefined) await storeOne(one, key)
      } catch (error) {
        failure = error
      }
    })
  }

  return {
    /** A graph node finished: its files are fetched while the others compute. */
    executed(graphNode: string, output: unknown): void {
      const outputs =
        typeof output === 'object' && output !== null ? { [graphNode]: output as Record<string, unknown> } : {}
      enqueue(findOutputs(outputs, [], options.workflow))
    },

    /** All outputs of a finished prompt. Throws what stopped one of them: OutputMissing, ComfyUiError or StorageError. */
    async finish({
      entry,
      websocketImages
    }: Extract<Verdict, { kind: 'succeeded' }>): Promise<readonly StoredOutput[]> {
      enqueue(findOutputs(entry.outputs, websocketImages, options.workflow))
      await chain
      if (failure !== undefined) throw failure
      return stored
    },

    /** Resolves when nothing is being fetched any more. */
    idle: (): Promise<void> => chain
  }
}

const isConvertible = (found: FoundOutput): boolean => found.source === 'file' && /\.png$/i.test(found.filename)

const nameOf = (found: FoundOutput, index: number, format: OutputFormat | undefined): string => {
  if (found.source === 'text') return `${index}.txt`
  return format ? found.filename.replace(/\.png$/i, `.${format.format}`) : found.filename
}

/** What tells an output from others when it is reported twice. A graph node may well say the same text several times. */
const withKeys = (found: readonly FoundOutput[]): [FoundOutput, string][] => {
  const texts = new Map<string, number>()
  return found.map(one => {
    if (one.source === 'file') return [one, JSON.stringify([one.type, one.subfolder, one.filename])]
    if (one.source === 'websocket') return [one, `websocket ${one.filename}`]
    const nth = (texts.get(one.graphNode) ?? 0) + 1
    texts.set(one.graphNode, nth)
    return [one, `text ${nth} ${one.graphNode}`]
  })
}

/** Reads the first bytes for the media type and gives the whole on, without holding it. */
const sniffed = async (body: AsyncIterable<Uint8Array>, filename: string) => {
  const chunks = body[Symbol.asyncIterator]()
  const first: Uint8Array[] = []
  let length = 0
  while (length < headBytes) {
    const { value, done } = await chunks.next()
    if (done) break
    first.push(value)
    length += value.byteLength
  }
  const rest = async function* (): AsyncGenerator<Uint8Array> {
    yield* first
    yield* { [Symbol.asyncIterator]: () => chunks }
  }
  return { bytes: rest(), mediaType: mediaTypeOf(filename, Buffer.concat(first)) }
}
