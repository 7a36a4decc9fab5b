/** Pixels to write as WebP: RGB or RGBA samples. */
export interface WebpPicture {
  width: number
  height: number
  channels: 3 | 4
  pixels: Uint8Array
}

/** Encodes a lossless WebP (VP8L) with even codes: valid everywhere, not small. Sides are at most 16384. */
export function encodeWebp(picture: WebpPicture): Buffer {
  return riff([chunk('VP8L', lossless(picture))])
}

/** Encodes an animated lossless WebP repeated for ever. */
export function encodeAnimatedWebp(frames: WebpPicture[], fps: number): Buffer {
  const first = frames[0]
  if (!first) throw new RangeError('an animation needs a frame')
  const canvas = Buffer.alloc(10)
  canvas[0] = 0b0000_0010
  canvas.writeUIntLE(first.width - 1, 4, 3)
  canvas.writeUIntLE(first.height - 1, 7, 3)
  const durationMs = Math.min(0xffffff, Math.round(1000 / fps))
  return riff([
    chunk('VP8X', canvas),
    chunk('ANIM', Buffer.alloc(6)),
    ...frames.map(frame => chunk('ANMF', animationFrame(frame, durationMs)))
  ])
}

function animationFrame(frame: WebpPicture, durationMs: number): Buffer {
  const header = Buffer.alloc(16)
  header.writeUIntLE(frame.width - 1, 6, 3)
  header.writeUIntLE(frame.height - 1, 9, 3)
  header.writeUIntLE(durationMs, 12, 3)
  header[15] = 0b10
  return Buffer.concat([header, chunk('VP8L', lossless(frame))])
}

function riff(chunks: Buffer[]): Buffer {
  const body = Buffer.concat([Buffer.from('WEBP', 'latin1'), ...chunks])
  return chunk('RIFF', body)
}

function chunk(name: string, data: Buffer): Buffer {
  const header = Buffer.alloc(8)
  header.write(name, 'latin1')
  header.writeUInt32LE(data.length, 4)
  return Buffer.concat([header, data, Buffer.alloc(data.length & 1)])
}

function lossless(picture: WebpPicture): Buffer {
  const bits = new LittleBits(picture.width * picture.height * picture.channels + 256)
  bits.write(0x2f, 8)
  bits.write(picture.width - 1, 14)
  bits.write(picture.height - 1, 14)
  bits.write(picture.channels === 4 ? 1 : 0, 1)
  bits.write(0, 3)
  bits.write(0, 1)
  bits.write(0, 1)
  bits.write(0, 1)
  evenCode(bits, 256 + 24)
  evenCode(bits, 256)
  evenCode(bits, 256)
  if (picture.channels === 4) evenCode(bits, 256)
  else singleCode(bits, 255)
  singleCode(bits, 0)
  writePixels(bits, picture)
  return bits.finish()
}

function evenCode(bits: LittleBits, alphabet: number): void {
  bits.write(0, 1)
  const order = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8]
  bits.write(order.length - 4, 4)
  for (const length of order) bits.write(length === 8 || length === 0 ? 1 : 0, 3)
  bits.write(0, 1)
  for (let symbol = 0; symbol < alphabet; symbol++) bits.write(symbol < 256 ? 1 : 0, 1)
}

function singleCode(bits: LittleBits, symbol: number): void {
  bits.write(1, 1)
  bits.write(0, 1)
  bits.write(1, 1)
  bits.write(symbol, 8)
}

const reversed = Uint8Array.from({ length: 256 }, (_, byte) => {
  let out = 0
  for (let bit = 0; bit < 8; bit++) if (byte & (1 << bit)) out |= 128 >> bit
  return out
})

function writePixels(bits: LittleBits, picture: WebpPicture): void {
  const { pixels, channels } = picture
  for (let at = 0; at < pixels.length; at += channels) {
    bits.write(reversed[pixels[at + 1]!]!, 8)
    bits.write(reversed[pixels[at]!]!, 8)
    bits.write(reversed[pixels[at + 2]!]!, 8)
    if (channels === 4) bits.write(reversed[pixels[at + 3]!]!, 8)
  }
}

class LittleBits {
  readonly #bytes: Buffer
  #at = 0
  #held = 0
  #count = 0

  constructor(size: number) {
    this.#bytes = Buffer.alloc(size)
  }

  write(value: number, length: number): void {
    this.#held |= value << this.#count
    this.#count += length
    while (this.#count >= 8) {
      this.#bytes[this.#at++] = this.#held & 255
      this.#held >>>= 8
      this.#count -= 8
    }
  }

  finish(): Buffer {
    if (this.#count > 0) this.#bytes[this.#at++] = this.#held & 255
    return this.#bytes.subarray(0, this.#at)
  }
}
