/** The size of an image in pixels, as its header says. */
export type ImageSize = { readonly width: number; readonly height: number }

type Read = (head: DataView) => ImageSize | undefined

const textAt = (head: DataView, at: number): string =>
  String.fromCharCode(head.getUint8(at), head.getUint8(at + 1), head.getUint8(at + 2), head.getUint8(at + 3))

const png: Read = head =>
  textAt(head, 12) === 'IHDR' ? { width: head.getUint32(16), height: head.getUint32(20) } : undefined

const gif: Read = head => ({ width: head.getUint16(6, true), height: head.getUint16(8, true) })

const bmp: Read = head => ({ width: Math.abs(head.getInt32(18, true)), height: Math.abs(head.getInt32(22, true)) })

/** Start-of-frame markers: C0 to CF without the tables and the reserved one among them. */
const isFrame = (marker: number): boolean => marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)
const hasNoLength = (marker: number): boolean => marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)

const jpeg: Read = head => {
  for (let at = 2; ; ) {
    if (head.getUint8(at) !== 0xff) return undefined
    const marker = head.getUint8(at + 1)
    if (isFrame(marker)) return { width: head.getUint16(at + 7), height: head.getUint16(at + 5) }
    if (marker === 0xff) at += 1
    else if (hasNoLength(marker)) at += 2
    else at += 2 + Math.max(2, head.getUint16(at + 2))
  }
}

const uint24 = (head: DataView, at: number): number => head.getUint16(at, true) + head.getUint8(at + 2) * 65_536

const webp: Read = head => {
  const kind = textAt(head, 12)
  if (kind === 'VP8X') return { width: uint24(head, 24) + 1, height: uint24(head, 27) + 1 }
  if (kind === 'VP8 ' && uint24(head, 23) === 0x2a019d) {
    return { width: head.getUint16(26, true) & 0x3fff, height: head.getUint16(28, true) & 0x3fff }
  }
  if (kind !== 'VP8L' || head.getUint8(20) !== 0x2f) return undefined
  const bits = head.getUint32(21, true)
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 }
}

/** A file of the HEIF family may hold several images; the largest of their `ispe` properties counts. */
const heif: Read = head => {
  let largest: ImageSize | undefined
  for (let at = 0; at + 16 <= head.byteLength; at++) {
    if (head.getUint32(at) !== 0x69737065) continue
    const size = { width: head.getUint32(at + 8), height: head.getUint32(at + 12) }
    if (!largest || size.width * size.height > largest.width * largest.height) largest = size
  }
  return largest
}

const readers: Readonly<Record<string, Read>> = {
  'image/png': png,
  'image/apng': png,
  'image/jpeg': jpeg,
  'image/webp': webp,
  'image/gif': gif,
  'image/bmp': bmp,
  'image/avif': heif,
  'image/heic': heif
}

/** Whether the header of this kind of image is understood here. */
export const hasReadableSize = (mediaType: string): boolean => Object.hasOwn(readers, mediaType)

/**
 * The size of an image out of its first bytes, so that a small file which unfolds to a huge image is known before anything decodes it.
 * Undefined where they do not tell: cut off, broken, or of another kind.
 */
export const imageSizeOf = (mediaType: string, head: Uint8Array): ImageSize | undefined => {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength)
  try {
    const size = readers[mediaType]?.(view)
    return size && size.width > 0 && size.height > 0 ? size : undefined
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
