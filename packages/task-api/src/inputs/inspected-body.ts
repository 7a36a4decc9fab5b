import { type InputInspection, inputHeadBytes, inspectInput } from '@comfy-balancer/domain/input-file'

/** A file of a caller: its bytes and the name it came with, which is only looked at. */
export type CallersFile = { readonly filename: string; readonly body: AsyncIterable<Uint8Array> }

/** Passes a file's bytes on and looks at the first of them; ends with an error when they are flawed. `verdict` is known by then. */
export const createInspectedBody = ({ filename, body }: CallersFile, maxPixels: number) => {
  let verdict: InputInspection | undefined
  const head: Uint8Array[] = []
  let length = 0

  const judge = (): void => {
    verdict = inspectInput(filename, Buffer.concat(head).subarray(0, inputHeadBytes), maxPixels)
    head.length = 0
    if (verdict.flaw !== undefined) throw new Error(verdict.flaw)
  }

  async function* bytes(): AsyncGenerator<Uint8Array> {
    for await (const chunk of body) {
      length += chunk.length
      if (!verdict) head.push(chunk)
      if (!verdict && length >= inputHeadBytes) judge()
      yield chunk
    }
    if (!verdict) judge()
  }

  return { bytes, verdict: (): InputInspection | undefined => verdict }
}
