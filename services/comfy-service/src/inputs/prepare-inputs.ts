import type { ComfyUiHttp } from '@comfy-balancer/comfyui/http'
import type { Log } from '@comfy-balancer/service-kit/log'
import type { InputShelf, Search } from './input-shelf.ts'
import { putOnNode } from './put-on-node.ts'
import { type WantedFile, type Wanting, wantedFilesOf } from './wanted-files.ts'

/** What to prepare, for whom; `signal` gives it up. */
export type Preparation = Wanting & Search

export type PrepareInputsDeps = {
  readonly http: Pick<ComfyUiHttp, 'upload' | 'statOf'>
  readonly shelf: InputShelf
  readonly log: Log
}

/** Graph node → input → the text that stands there instead of the caller's. */
export type InputValues = ReadonlyMap<string, ReadonlyMap<string, string>>

/**
 * Sees to it that every file that comes along with the workflow is in this ComfyUI's input folder, each once. Returns the names to write in
 * place of the caller's. Throws InputUnavailable, ComfyUiError, or the signal's reason.
 */
export const prepareInputs = async (
  preparation: Preparation,
  { http, shelf, log }: PrepareInputsDeps
): Promise<InputValues> => {
  const values = new Map<string, Map<string, string>>()
  for (const wanted of wantedFilesOf(preparation)) {
    const startedAtMs = performance.now()
    const file = await shelf(wanted, preparation)
    write(values, wanted, await putOnNode(file, http, preparation.signal))
    const durationMs = Math.round(performance.now() - startedAtMs)
    log.debug({ bytes: file.bytes, durationMs }, 'input put in place')
  }
  return values
}

const write = (values: Map<string, Map<string, string>>, { places }: WantedFile, name: string): void => {
  for (const { graphNode, input } of places) {
    const inputs = values.get(graphNode) ?? new Map<string, string>()
    values.set(graphNode, inputs.set(input, name))
  }
}
