import { hasReadableSize, imageSizeOf } from './image-size.ts'
import { mediaTypeOf } from './media-type.ts'

/** So many first bytes of an input decide about it: a JPEG's size may stand behind long descriptions. */
export const inputHeadBytes = 1_048_576

/** What an input is by its first bytes, and what is wrong with it, if anything. */
export type InputInspection = { readonly mediaType: string; readonly flaw: string | undefined }

/**
 * Looks at the first `inputHeadBytes` of a file that a caller brings (fewer when it is shorter). An image must tell its size, and hold at most
 * `maxPixels`; anything else is taken as it is, for ComfyUI reads many kinds of file. The name only helps where the bytes say nothing.
 */
export const inspectInput = (filename: string, head: Uint8Array, maxPixels: number): InputInspection => {
  const mediaType = mediaTypeOf(filename, head.subarray(0, 64))
  return { mediaType, flaw: flawOf(mediaType, head, maxPixels) }
}

const flawOf = (mediaType: string, head: Uint8Array, maxPixels: number): string | undefined => {
  if (head.length === 0) return 'the file is empty'
  if (!hasReadableSize(mediaType)) return undefined
  const size = imageSizeOf(mediaType, head)
  if (!size) return `the file is not a whole image: it does not say its size as ${mediaType}`
  const { width, height } = size
  if (width * height <= maxPixels) return undefined
  return `the image has ${width} × ${height} pixels; the limit is ${maxPixels} in all`
}
