import type { ComfyUiHttp } from '@comfy-balancer/comfyui/http'
import { ownFolder } from '../comfyui-folders.ts'
import type { ShelfFile } from './input-shelf.ts'
import { InputUnavailable } from './input-unavailable.ts'

/** The folder below ComfyUI's input folder that holds what callers brought. */
const subfolder = ownFolder

/** A file this old may be cleared away any hour (`comfyui-folders.ts`), so it is put in place anew. */
const freshMs = 43_200_000

/**
 * Puts a file into ComfyUI's input folder under a name made of its content, unless it is there already, and answers that name as a workflow
 * spells it. Throws ComfyUiError, InputUnavailable, or the signal's reason.
 */
export const putOnNode = async (
  { sha256, bytes, extension, open }: ShelfFile,
  http: Pick<ComfyUiHttp, 'upload' | 'statOf'>,
  signal: AbortSignal
): Promise<string> => {
  const filename = `${sha256.slice(0, 32)}.${extension}`
  const there = await http.statOf({ filename, subfolder, type: 'input' }, { signal })
  if (there?.bytes === bytes && Date.now() - there.modifiedMs < freshMs) return `${subfolder}/${filename}`
  const body = await open()
  try {
    const stored = await http.upload({ filename, subfolder, overwrite: true, body, signal })
    return stored.subfolder === '' ? stored.filename : `${stored.subfolder}/${stored.filename}`
  } catch (error) {
    throw brokenSource(error) ?? error
  }
}

/** The failed read behind a failed upload, if that was its cause. */
const brokenSource = (error: unknown): InputUnavailable | undefined => {
  if (error instanceof InputUnavailable) return error
  const { cause } = (error ?? {}) as { cause?: unknown }
  return cause === undefined ? undefined : brokenSource(cause)
}
