/** A batch of pictures of one size: 8-bit samples, 3 (RGB) or 4 (RGBA) per pixel, one array per picture. */
export interface ImageBatch {
  readonly type: 'IMAGE'
  readonly width: number
  readonly height: number
  readonly channels: 3 | 4
  readonly frames: Uint8Array[]
}

/** A batch of masks of one size: one 8-bit sample per pixel, 255 = selected. */
export interface MaskBatch {
  readonly type: 'MASK'
  readonly width: number
  readonly height: number
  readonly frames: Uint8Array[]
}

/** A batch of pictures of one colour; `color` is 0xRRGGBB. */
export function solidImage(width: number, height: number, count: number, color: number): ImageBatch {
  const frame = new Uint8Array(width * height * 3)
  const red = (color >> 16) & 255
  const green = (color >> 8) & 255
  const blue = color & 255
  for (let at = 0; at < frame.length; at += 3) {
    frame[at] = red
    frame[at + 1] = green
    frame[at + 2] = blue
  }
  return { type: 'IMAGE', width, height, channels: 3, frames: Array.from({ length: count }, () => frame) }
}

/** A batch of masks of one value, 0 to 1. */
export function solidMask(width: number, height: number, count: number, value: number): MaskBatch {
  const frame = new Uint8Array(width * height).fill(Math.round(value * 255))
  return { type: 'MASK', width, height, frames: Array.from({ length: count }, () => frame) }
}

/** Whether a node's input is a batch of pictures. */
export function isImage(value: unknown): value is ImageBatch {
  return (value as ImageBatch | undefined)?.type === 'IMAGE'
}

/** Whether a node's input is a batch of masks. */
export function isMask(value: unknown): value is MaskBatch {
  return (value as MaskBatch | undefined)?.type === 'MASK'
}
