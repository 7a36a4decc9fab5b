import { createHash } from 'node:crypto'
import type { ComfyUiHttp } from '@comfy-balancer/comfyui/http'
import type { Capability } from '@comfy-balancer/domain/capability'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import { type Egress, EgressError } from '@comfy-balancer/service-kit/egress'
import { type InputUrl, inputUrlsOf, maxInputUrls } from '@comfy-balancer/service-kit/input-urls'
import type { Log } from '@comfy-balancer/service-kit/log'
import { extensionOf } from './extension.ts'
import { InputUnavailable } from './input-unavailable.ts'

/** The folder below ComfyUI's input folder that holds what was fetched for callers. */
const folder = 'comfy-balancer'

/** What to prepare: the workflow, its output graph nodes, and what this node can run. `signal` gives it up. */
export type Preparation = {
  readonly workflow: Workflow
  readonly outputs: readonly string[]
  readonly capability: Capability
  readonly signal: AbortSignal
}

export type PrepareInputsDeps = {
  readonly http: Pick<ComfyUiHttp, 'upload'>
  readonly egress: Pick<Egress, 'fetch'>
  readonly log: Log
}

/** Graph node → input → the text that stands there instead of the caller's. */
export type InputValues = ReadonlyMap<string, ReadonlyMap<string, string>>

/**
 * Fetches every file that the workflow names by URL, each once, and puts it into this ComfyUI's input folder under a name made of its
 * content. Returns the names to write in place of the URLs. Throws InputUnavailable, ComfyUiError, or the signal's reason.
 */
export const prepareInputs = async (
  { workflow, outputs, capability, signal }: Preparation,
  { http, egress, log }: PrepareInputsDeps
): Promise<InputValues> => {
  const found = inputUrlsOf(workflow, { outputs, isUpload: capability.isUpload })
  const first = new Map(found.map(one => [one.url, one]))
  if (first.size > maxInputUrls) throw tooMany(first.size)
  const names = new Map<string, string>()
  for (const [url, place] of first) {
    const startedAtMs = performance.now()
    const { bytes, extension } = await fetchFile(place, egress, signal)
    names.set(url, await put(bytes, extension, http, signal))
    log.debug({ bytes: bytes.length, durationMs: Math.round(performance.now() - startedAtMs) }, 'input put in place')
  }
  return valuesOf(found, names)
}

const tooMany = (count: number): InputUnavailable =>
  new InputUnavailable('blocked', `the workflow names ${count} files by URL; the limit is ${maxInputUrls}`)

const fetchFile = async ({ graphNode, input, url }: InputUrl, egress: Pick<Egress, 'fetch'>, signal: AbortSignal) => {
  try {
    const file = await egress.fetch(url, { signal })
    return { bytes: file.bytes, extension: extensionOf(file) }
  } catch (error) {
    if (!(error instanceof EgressError)) throw error
    const detail = `the input ${input} of graph node ${graphNode} could not be fetched: ${error.message}`
    throw new InputUnavailable(error.code, detail, { cause: error })
  }
}

const put = async (
  bytes: Buffer,
  extension: string,
  http: Pick<ComfyUiHttp, 'upload'>,
  signal: AbortSignal
): Promise<string> => {
  const digest = createHash('sha256').update(bytes).digest('hex').slice(0, 32)
  const filename = `${digest}.${extension}`
  const stored = await http.upload({ filename, subfolder: folder, overwrite: true, body: bytes, signal })
  return stored.subfolder === '' ? stored.filename : `${stored.subfolder}/${stored.filename}`
}

const valuesOf = (found: readonly InputUrl[], names: ReadonlyMap<string, string>): InputValues => {
  const values = new Map<string, Map<string, string>>()
  for (const { graphNode, input, url } of found) {
    const inputs = values.get(graphNode) ?? new Map<string, string>()
    values.set(graphNode, inputs.set(input, names.get(url)!))
  }
  return values
}
