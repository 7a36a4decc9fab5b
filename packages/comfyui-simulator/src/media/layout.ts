import { type ImageBatch, type MaskBatch, solidImage } from './image-batch.ts'

/** A rectangle in pixels. */
export interface Rectangle {
  x: number
  y: number
  width: number
  height: number
}

/** Cuts a rectangle out of one picture. */
export function cropFrame(frame: Uint8Array, image: { width: number; channels: number }, cut: Rectangle): Uint8Array {
  const out = new Uint8Array(cut.width * cut.height * image.channels)
  const stride = cut.width * image.channels
  for (let row = 0; row < cut.height; row++) {
    const from = ((cut.y + row) * image.width + cut.x) * image.channels
    out.set(frame.subarray(from, from + stride), row * stride)
  }
  return out
}

/** Mirrors a batch: top to bottom or left to right. */
export function flipped(image: ImageBatch, isVertical: boolean): ImageBatch {
  const { width, height } = image
  return rearranged(image, width, height, (x, y) => (isVertical ? [x, height - 1 - y] : [width - 1 - x, y]))
}

/** Turns a batch clockwise by 0, 90, 180 or 270 degrees. */
export function rotated(image: ImageBatch, degrees: number): ImageBatch {
  const { width, height } = image
  if (degrees === 90) return rearranged(image, height, width, (x, y) => [y, height - 1 - x])
  if (degrees === 180) return rearranged(image, width, height, (x, y) => [width - 1 - x, height - 1 - y])
  return degrees === 270 ? rearranged(image, height, width, (x, y) => [width - 1 - y, x]) : image
}

/** Puts two batches of one height (or width) side by side (or one below the other). */
export function stitched(first: ImageBatch, second: ImageBatch, isAcross: boolean): ImageBatch {
  const width = isAcross ? first.width + second.width : first.width
  const height = isAcross ? first.height : first.height + second.height
  const count = Math.max(first.frames.length, second.frames.length)
  const base = solidImage(width, height, count, 0)
  const placed = composite(base, first, undefined, 0, 0)
  return composite(placed, second, undefined, isAcross ? first.width : 0, isAcross ? 0 : first.height)
}

/** Adds grey margins, and gives the mask that selects them. */
export function padded(
  image: ImageBatch,
  margins: { left: number; top: number; right: number; bottom: number }
): { image: ImageBatch; mask: MaskBatch } {
  const width = image.width + margins.left + margins.right
  const height = image.height + margins.top + margins.bottom
  const base = solidImage(width, height, image.frames.length, 0x808080)
  const frame = new Uint8Array(width * height).fill(255)
  for (let row = 0; row < image.height; row++) {
    const at = (row + margins.top) * width + margins.left
    frame.fill(0, at, at + image.width)
  }
  const mask: MaskBatch = { type: 'MASK', width, height, frames: [frame] }
  return { image: composite(base, image, undefined, margins.left, margins.top), mask }
}

/** Draws a batch over another one at a place, through a mask of the source's proportions when there is one. */
export function composite(
  destination: ImageBatch,
  source: ImageBatch,
  mask: MaskBatch | undefined,
  x: number,
  y: number
): ImageBatch {
  const frames = destination.frames.map((frame, index) => {
    const out = Uint8Array.from(frame)
    const top = source.frames[Math.min(index, source.frames.length - 1)] as Uint8Array
    const selected = mask?.frames[Math.min(index, mask.frames.length - 1)]
    drawOver(
      out,
      destination,
      top,
      source,
      { x, y },
      selected && mask ? { frame: selected, ...sizeOf(mask) } : undefined
    )
    return out
  })
  return { ...destination, frames }
}

function sizeOf({ width, height }: MaskBatch): { width: number; height: number } {
  return { width, height }
}

function drawOver(
  out: Uint8Array,
  destination: ImageBatch,
  top: Uint8Array,
  source: ImageBatch,
  place: { x: number; y: number },
  mask: { frame: Uint8Array; width: number; height: number } | undefined
): void {
  const width = Math.min(source.width, destination.width - place.x)
  const height = Math.min(source.height, destination.height - place.y)
  for (let row = Math.max(0, -place.y); row < height; row++) {
    for (let column = Math.max(0, -place.x); column < width; column++) {
      const alpha = mask ? maskAt(mask, column / source.width, row / source.height) : 1
      const to = ((row + place.y) * destination.width + column + place.x) * destination.channels
      const from = (row * source.width + column) * source.channels
      for (let channel = 0; channel < 3; channel++) {
        out[to + channel] = Math.round(out[to + channel]! + (top[from + channel]! - out[to + channel]!) * alpha)
      }
    }
  }
}

function maskAt(mask: { frame: Uint8Array; width: number; height: number }, u: number, v: number): number {
  return mask.frame[Math.floor(v * mask.height) * mask.width + Math.floor(u * mask.width)]! / 255
}

function rearranged(
  image: ImageBatch,
  width: number,
  height: number,
  source: (x: number, y: number) => [number, number]
): ImageBatch {
  const frames = image.frames.map(frame => {
    const out = new Uint8Array(frame.length)
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [fromX, fromY] = source(x, y)
        const from = (fromY * image.width + fromX) * image.channels
        out.set(frame.subarray(from, from + image.channels), (y * width + x) * image.channels)
      }
    }
    return out
  })
  return { ...image, width, height, frames }
}
