import { inflateSync } from 'node:zlib'

/** Decoded pixels: 8-bit RGBA. */
export interface DecodedPicture {
  width: number
  height: number
  rgba: Uint8Array
  hasAlpha: boolean
}

interface PngParts {
  width: number
  height: number
  depth: number
  colorType: number
  interlaced: boolean
  palette: Buffer
  transparency: Buffer
  data: Buffer
}

const channelsOf: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }
const maxPixels = 16_384 * 16_384

/** Decodes a PNG of any colour type and depth without interlacing. Returns undefined when the bytes are no such PNG. */
export function decodePng(bytes: Buffer): DecodedPicture | undefined {
  const parts = readChunks(bytes)
  if (!parts || parts.interlaced || channelsOf[parts.colorType] === undefined) return undefined
  const channels = channelsOf[parts.colorType]!
  const stride = Math.ceil((parts.width * channels * parts.depth) / 8)
  const raw = inflated(parts.data, (stride + 1) * parts.height)
  if (!raw || raw.length < (stride + 1) * parts.height) return undefined
  const rows = unfilter(raw, stride, parts.height, Math.max(1, Math.floor((channels * parts.depth) / 8)))
  const hasAlpha = parts.colorType >= 4 || parts.transparency.length > 0
  return { width: parts.width, height: parts.height, rgba: toRgba(parts, rows, stride, channels), hasAlpha }
}

function inflated(data: Buffer, maxOutputLength: number): Buffer | undefined {
  try {
    return inflateSync(data, { maxOutputLength: maxOutputLength + 1024 })
  } catch {
    return undefined
  }
}

function readChunks(bytes: Buffer): PngParts | undefined {
  if (bytes.length < 33 || bytes.readUInt32BE(0) !== 0x89504e47) return undefined
  const header = bytes.subarray(16)
  const parts: PngParts = {
    width: header.readUInt32BE(0),
    height: header.readUInt32BE(4),
    depth: header[8]!,
    colorType: header[9]!,
    interlaced: header[12] !== 0,
    palette: Buffer.alloc(0),
    transparency: Buffer.alloc(0),
    data: Buffer.alloc(0)
  }
  if (parts.width * parts.height > maxPixels || parts.width === 0) return undefined
  const data: Buffer[] = []
  for (let at = 8; at + 8 <= bytes.length; ) {
    const length = bytes.readUInt32BE(at)
    const name = bytes.toString('latin1', at + 4, at + 8)
    const body = bytes.subarray(at + 8, at + 8 + length)
    if (name === 'IDAT') data.push(body)
    if (name === 'PLTE') parts.palette = body
    if (name === 'tRNS') parts.transparency = body
    at += 12 + length
  }
  parts.data = Buffer.concat(data)
  return parts
}

function unfilter(raw: Buffer, stride: number, height: number, pixelBytes: number): Uint8Array {
  const rows = new Uint8Array(stride * height)
  for (let row = 0; row < height; row++) {
    const filter = raw[row * (stride + 1)]!
    for (let index = 0; index < stride; index++) {
      const at = row * stride + index
      const left = index >= pixelBytes ? rows[at - pixelBytes]! : 0
      const up = row > 0 ? rows[at - stride]! : 0
      const corner = row > 0 && index >= pixelBytes ? rows[at - stride - pixelBytes]! : 0
      rows[at] = raw[row * (stride + 1) + 1 + index]! + predicted(filter, left, up, corner)
    }
  }
  return rows
}

function predicted(filter: number, left: number, up: number, corner: number): number {
  if (filter === 1) return left
  if (filter === 2) return up
  if (filter === 3) return (left + up) >> 1
  if (filter !== 4) return 0
  const estimate = left + up - corner
  const toLeft = Math.abs(estimate - left)
  const toUp = Math.abs(estimate - up)
  const toCorner = Math.abs(estimate - corner)
  if (toLeft <= toUp && toLeft <= toCorner) return left
  return toUp <= toCorner ? up : corner
}

function toRgba(parts: PngParts, rows: Uint8Array, stride: number, channels: number): Uint8Array {
  const rgba = new Uint8Array(parts.width * parts.height * 4)
  const scale = parts.depth < 8 && parts.colorType !== 3 ? 255 / ((1 << parts.depth) - 1) : 1
  for (let y = 0; y < parts.height; y++) {
    for (let x = 0; x < parts.width; x++) {
      const sample = (channel: number) => sampleAt(rows, y * stride, x * channels + channel, parts.depth) * scale
      writePixel(rgba, (y * parts.width + x) * 4, parts, sample)
    }
  }
  return rgba
}

function sampleAt(rows: Uint8Array, start: number, index: number, depth: number): number {
  if (depth === 8) return rows[start + index]!
  if (depth === 16) return rows[start + index * 2]!
  const bit = index * depth
  const byte = rows[start + (bit >> 3)]!
  return (byte >> (8 - depth - (bit & 7))) & ((1 << depth) - 1)
}

function writePixel(rgba: Uint8Array, at: number, parts: PngParts, sample: (channel: number) => number): void {
  const first = sample(0)
  rgba[at + 3] = 255
  if (parts.colorType === 3) {
    rgba.set(parts.palette.subarray(first * 3, first * 3 + 3), at)
    if (first < parts.transparency.length) rgba[at + 3] = parts.transparency[first]!
    return
  }
  const colored = parts.colorType === 2 || parts.colorType === 6
  rgba[at] = first
  rgba[at + 1] = colored ? sample(1) : first
  rgba[at + 2] = colored ? sample(2) : first
  if (parts.colorType === 4) rgba[at + 3] = sample(1)
  if (parts.colorType === 6) rgba[at + 3] = sample(3)
}
