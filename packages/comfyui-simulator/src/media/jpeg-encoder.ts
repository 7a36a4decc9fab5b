/** Pixels to write as JPEG; a fourth sample per pixel is ignored. */
export interface JpegPicture {
  width: number
  height: number
  channels: 3 | 4
  pixels: Uint8Array
}

const zigzag = [
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47,
  55, 62, 63
]
const lumaSteps = [
  16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
  87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
  72, 92, 95, 98, 112, 100, 103, 99
]
const chromaSteps = [
  17,
  18,
  24,
  47,
  99,
  99,
  99,
  99,
  18,
  21,
  26,
  66,
  99,
  99,
  99,
  99,
  24,
  26,
  56,
  99,
  99,
  99,
  99,
  99,
  47,
  66,
  99,
  99,
  99,
  99,
  99,
  99,
  ...new Array<number>(32).fill(99)
]

interface Plane {
  width: number
  height: number
  values: Float32Array
}

interface Component {
  steps: number[]
  dc: HuffmanTable
  ac: HuffmanTable
}

const lumaCorners = [
  [0, 0],
  [8, 0],
  [0, 8],
  [8, 8]
] as const

interface HuffmanTable {
  counts: number[]
  symbols: number[]
  codes: Uint16Array
  lengths: Uint8Array
}

const lumaDc = huffmanTable([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], [...Array(12).keys()])
const chromaDc = huffmanTable([0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], [...Array(12).keys()])
const lumaAc = acTable(
  [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
  [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71, 0x14,
    0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72, 0x82
  ]
)
const chromaAc = acTable(
  [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119],
  [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22, 0x32,
    0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16,
    0x24, 0x34, 0xe1, 0x25, 0xf1
  ]
)

/** Encodes a baseline JPEG with halved chroma, as Pillow does by default; `quality` is 1 to 100. */
export function encodeJpeg(picture: JpegPicture, quality = 90): Buffer {
  const luma: Component = { steps: scaledSteps(lumaSteps, quality), dc: lumaDc, ac: lumaAc }
  const chroma: Component = { steps: scaledSteps(chromaSteps, quality), dc: chromaDc, ac: chromaAc }
  const planes = toPlanes(picture)
  const bits = new BitWriter()
  const before = [0, 0, 0]
  for (let y = 0; y < picture.height; y += 16) {
    for (let x = 0; x < picture.width; x += 16) {
      for (const [dx, dy] of lumaCorners) {
        before[0] = writeBlock(bits, blockAt(planes.luma, x + dx, y + dy), luma, before[0]!)
      }
      before[1] = writeBlock(bits, blockAt(planes.blue, x >> 1, y >> 1), chroma, before[1]!)
      before[2] = writeBlock(bits, blockAt(planes.red, x >> 1, y >> 1), chroma, before[2]!)
    }
  }
  return Buffer.concat([headers(picture, luma.steps, chroma.steps), bits.finish(), Buffer.from([0xff, 0xd9])])
}

function scaledSteps(steps: number[], quality: number): number[] {
  const bounded = Math.min(100, Math.max(1, quality))
  const scale = bounded < 50 ? 5000 / bounded : 200 - 2 * bounded
  return steps.map(step => Math.min(255, Math.max(1, Math.floor((step * scale + 50) / 100))))
}

function huffmanTable(counts: number[], symbols: number[]): HuffmanTable {
  const codes = new Uint16Array(256)
  const lengths = new Uint8Array(256)
  let code = 0
  let next = 0
  for (const [index, count] of counts.entries()) {
    for (let each = 0; each < count; each++) {
      const symbol = symbols[next++]!
      codes[symbol] = code++
      lengths[symbol] = index + 1
    }
    code <<= 1
  }
  return { counts, symbols, codes, lengths }
}

/** A table of AC symbols: the frequent ones in order, then the rest. */
function acTable(counts: number[], frequent: number[]): HuffmanTable {
  const symbols = [...frequent]
  for (let run = 0; run < 16; run++) {
    for (let size = 1; size <= 10; size++) if (!symbols.includes(run * 16 + size)) symbols.push(run * 16 + size)
  }
  return huffmanTable(counts, symbols)
}

function toPlanes({ width, height, channels, pixels }: JpegPicture): Record<'luma' | 'blue' | 'red', Plane> {
  const luma: Plane = { width, height, values: new Float32Array(width * height) }
  const half = { width: (width + 1) >> 1, height: (height + 1) >> 1 }
  const blue: Plane = { ...half, values: new Float32Array(half.width * half.height) }
  const red: Plane = { ...half, values: new Float32Array(half.width * half.height) }
  const shares = new Uint8Array(half.width * half.height)
  for (let pixel = 0; pixel < width * height; pixel++) {
    const at = pixel * channels
    const r = pixels[at]!
    const g = pixels[at + 1]!
    const b = pixels[at + 2]!
    luma.values[pixel] = Math.round(0.299 * r + 0.587 * g + 0.114 * b) - 128
    const small = (Math.floor(pixel / width) >> 1) * half.width + ((pixel % width) >> 1)
    blue.values[small]! += Math.round(128 - 0.168736 * r - 0.331264 * g + 0.5 * b) - 128
    red.values[small]! += Math.round(128 + 0.5 * r - 0.418688 * g - 0.081312 * b) - 128
    shares[small]!++
  }
  for (let small = 0; small < shares.length; small++) {
    blue.values[small]! /= shares[small]!
    red.values[small]! /= shares[small]!
  }
  return { luma, blue, red }
}

function blockAt(plane: Plane, x: number, y: number): Float32Array {
  const block = new Float32Array(64)
  for (let index = 0; index < 64; index++) {
    const column = Math.min(plane.width - 1, x + (index & 7))
    const row = Math.min(plane.height - 1, y + (index >> 3))
    block[index] = plane.values[row * plane.width + column]!
  }
  return block
}

const cosines = Float32Array.from({ length: 64 }, (_, index) => {
  const frequency = index >> 3
  const scale = frequency === 0 ? Math.SQRT1_2 / 2 : 0.5
  return scale * Math.cos(((2 * (index & 7) + 1) * frequency * Math.PI) / 16)
})

function transformed(plane: Float32Array): Float32Array {
  const rows = new Float32Array(64)
  const out = new Float32Array(64)
  for (let y = 0; y < 8; y++) {
    for (let u = 0; u < 8; u++) {
      let sum = 0
      for (let x = 0; x < 8; x++) sum += plane[y * 8 + x]! * cosines[u * 8 + x]!
      rows[y * 8 + u] = sum
    }
  }
  for (let u = 0; u < 8; u++) {
    for (let v = 0; v < 8; v++) {
      let sum = 0
      for (let y = 0; y < 8; y++) sum += rows[y * 8 + u]! * cosines[v * 8 + y]!
      out[v * 8 + u] = sum
    }
  }
  return out
}

function writeBlock(
  bits: BitWriter,
  block: Float32Array,
  { steps, dc: dcTable, ac }: Component,
  previous: number
): number {
  const values = transformed(block)
  const levels = zigzag.map(at => Math.round(values[at]! / steps[at]!))
  const dc = levels[0]!
  const difference = dc - previous
  const size = bitLength(difference)
  bits.symbol(dcTable, size)
  bits.magnitude(difference, size)
  let run = 0
  for (let index = 1; index < 64; index++) {
    const level = Math.min(1023, Math.max(-1023, levels[index]!))
    if (level === 0) {
      run++
      continue
    }
    for (; run > 15; run -= 16) bits.symbol(ac, 0xf0)
    const width = bitLength(level)
    bits.symbol(ac, run * 16 + width)
    bits.magnitude(level, width)
    run = 0
  }
  if (run > 0) bits.symbol(ac, 0)
  return dc
}

function bitLength(value: number): number {
  return 32 - Math.clz32(Math.abs(value))
}

class BitWriter {
  readonly #bytes: number[] = []
  #held = 0
  #count = 0

  symbol(table: HuffmanTable, symbol: number): void {
    this.#write(table.codes[symbol]!, table.lengths[symbol]!)
  }

  magnitude(value: number, size: number): void {
    if (size > 0) this.#write(value < 0 ? value + (1 << size) - 1 : value, size)
  }

  finish(): Buffer {
    if (this.#count > 0) this.#write((1 << (8 - this.#count)) - 1, 8 - this.#count)
    return Buffer.from(this.#bytes)
  }

  #write(value: number, length: number): void {
    this.#held = (this.#held << length) | value
    this.#count += length
    while (this.#count >= 8) {
      const byte = (this.#held >> (this.#count - 8)) & 255
      this.#bytes.push(byte)
      if (byte === 255) this.#bytes.push(0)
      this.#count -= 8
    }
    this.#held &= (1 << this.#count) - 1
  }
}

function headers(picture: JpegPicture, luma: number[], chroma: number[]): Buffer {
  const { width, height } = picture
  const size = [height >> 8, height & 255, width >> 8, width & 255]
  const table = (kind: number, huffman: HuffmanTable) => [kind, ...huffman.counts, ...huffman.symbols]
  return Buffer.concat([
    Buffer.from([0xff, 0xd8]),
    segment(0xe0, [0x4a, 0x46, 0x49, 0x46, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0]),
    segment(0xdb, [0, ...zigzag.map(at => luma[at]!)]),
    segment(0xdb, [1, ...zigzag.map(at => chroma[at]!)]),
    segment(0xc0, [8, ...size, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]),
    segment(0xc4, table(0x00, lumaDc)),
    segment(0xc4, table(0x10, lumaAc)),
    segment(0xc4, table(0x01, chromaDc)),
    segment(0xc4, table(0x11, chromaAc)),
    segment(0xda, [3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0])
  ])
}

function segment(marker: number, body: number[]): Buffer {
  const length = body.length + 2
  return Buffer.from([0xff, marker, length >> 8, length & 255, ...body])
}
