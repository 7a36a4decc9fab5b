import { promisify } from 'node:util'
import { crc32, deflate } from 'node:zlib'

const deflated = promisify(deflate)

/** Pixels to write and the text chunks to write before them, in order. */
export interface PngPicture {
  width: number
  height: number
  channels: 1 | 3 | 4
  pixels: Uint8Array
  text?: [string, string][]
}

const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10])
const colorTypes = { 1: 0, 3: 2, 4: 6 } as const

/** Encodes a PNG; `level` is zlib's compression level, 4 as in ComfyUI's SaveImage. Compresses off the event loop. */
export async function encodePng(picture: PngPicture, level = 4): Promise<Buffer> {
  const header = pngHeader(picture)
  const texts = (picture.text ?? []).map(([key, value]) => textChunk(key, value))
  const data = await deflated(filterRows(picture), { level })
  return Buffer.concat([signature, header, ...texts, pngChunk('IDAT', data), pngChunk('IEND', Buffer.alloc(0))])
}

/** Encodes an animated PNG with a frame every `1000 / fps` milliseconds, repeated for ever. */
export async function encodeAnimatedPng(frames: PngPicture[], fps: number, level = 4): Promise<Buffer> {
  const first = frames[0]
  if (!first) throw new RangeError('an animation needs a frame')
  const control = Buffer.alloc(8)
  control.writeUInt32BE(frames.length, 0)
  const texts = (first.text ?? []).map(([key, value]) => textChunk(key, value))
  const chunks = [signature, pngHeader(first), ...texts, pngChunk('acTL', control)]
  let sequence = 0
  for (const [index, frame] of frames.entries()) {
    chunks.push(frameControl(frame, sequence++, fps))
    const data = await deflated(filterRows(frame), { level })
    if (index === 0) chunks.push(pngChunk('IDAT', data))
    else chunks.push(pngChunk('fdAT', Buffer.concat([uint32(sequence++), data])))
  }
  return Buffer.concat([...chunks, pngChunk('IEND', Buffer.alloc(0))])
}

function frameControl(frame: PngPicture, sequence: number, fps: number): Buffer {
  const control = Buffer.alloc(26)
  control.writeUInt32BE(sequence, 0)
  control.writeUInt32BE(frame.width, 4)
  control.writeUInt32BE(frame.height, 8)
  control.writeUInt16BE(Math.min(65_535, Math.round(1000 / fps)), 20)
  control.writeUInt16BE(1000, 22)
  return pngChunk('fcTL', control)
}

function pngHeader(picture: PngPicture): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(picture.width, 0)
  header.writeUInt32BE(picture.height, 4)
  header[8] = 8
  header[9] = colorTypes[picture.channels]
  return pngChunk('IHDR', header)
}

function textChunk(key: string, value: string): Buffer {
  return pngChunk('tEXt', Buffer.from(`${key}\0${value}`, 'latin1'))
}

function pngChunk(name: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(name, 'latin1'), data])
  return Buffer.concat([uint32(data.length), body, uint32(crc32(body))])
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value >>> 0)
  return bytes
}

function filterRows(picture: PngPicture): Buffer {
  const stride = picture.width * picture.channels
  const out = Buffer.alloc((stride + 1) * picture.height)
  for (let row = 0; row < picture.height; row++) {
    const above = row === 0 ? undefined : (row - 1) * stride
    const filter = bestFilter(picture.pixels, row * stride, above, stride, picture.channels)
    writeRow(out, row * (stride + 1), picture, row * stride, above, filter)
  }
  return out
}

const sampledBytes = 256

function bestFilter(
  pixels: Uint8Array,
  at: number,
  above: number | undefined,
  stride: number,
  channels: number
): 1 | 2 {
  if (above === undefined) return 1
  const step = Math.max(1, Math.floor(stride / sampledBytes))
  let sub = 0
  let up = 0
  for (let index = channels; index < stride; index += step) {
    const value = pixels[at + index]!
    sub += Math.abs(value - pixels[at + index - channels]!)
    up += Math.abs(value - pixels[above + index]!)
  }
  return sub < up ? 1 : 2
}

function writeRow(
  out: Buffer,
  to: number,
  picture: PngPicture,
  from: number,
  above: number | undefined,
  filter: 1 | 2
): void {
  const { pixels, channels } = picture
  const stride = picture.width * channels
  out[to] = filter
  if (filter === 2 && above !== undefined) {
    for (let index = 0; index < stride; index++) out[to + 1 + index] = pixels[from + index]! - pixels[above + index]!
    return
  }
  for (let index = 0; index < channels; index++) out[to + 1 + index] = pixels[from + index]!
  for (let index = channels; index < stride; index++) {
    out[to + 1 + index] = pixels[from + index]! - pixels[from + index - channels]!
  }
}
