/** Silence of some seconds. */
export interface Silence {
  seconds: number
  sampleRate: number
  channels: number
}

const flacBlock = 4096

/** Writes silence as FLAC. */
export function writeFlac({ seconds, sampleRate, channels }: Silence): Buffer {
  const samples = Math.max(1, Math.round(seconds * sampleRate))
  const info = Buffer.alloc(34)
  info.writeUInt16BE(flacBlock, 0)
  info.writeUInt16BE(flacBlock, 2)
  const packed = (BigInt(sampleRate) << 44n) | (BigInt(channels - 1) << 41n) | (15n << 36n) | BigInt(samples)
  info.writeBigUInt64BE(packed, 10)
  const frames: Buffer[] = []
  for (let start = 0, index = 0; start < samples; start += flacBlock, index++) {
    frames.push(flacFrame(index, Math.min(flacBlock, samples - start), channels))
  }
  return Buffer.concat([Buffer.from('fLaC'), Buffer.from([0x80, 0, 0, 34]), info, ...frames])
}

function flacFrame(index: number, size: number, channels: number): Buffer {
  const number = Buffer.from(String.fromCodePoint(index), 'utf8')
  const header = Buffer.concat([Buffer.from([0xff, 0xf8, 0x70, ((channels - 1) << 4) | 0x08]), number, sizeBytes(size)])
  const checked = Buffer.concat([header, Buffer.from([crc(header, 8, 0x07)])])
  const silent = Buffer.concat([checked, Buffer.alloc(channels * 3)])
  const tail = Buffer.alloc(2)
  tail.writeUInt16BE(crc(silent, 16, 0x8005))
  return Buffer.concat([silent, tail])
}

function sizeBytes(size: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(size - 1)
  return bytes
}

function crc(bytes: Buffer, width: 8 | 16, polynomial: number): number {
  const top = 1 << (width - 1)
  const mask = (1 << width) - 1
  let value = 0
  for (const byte of bytes) {
    value ^= byte << (width - 8)
    for (let bit = 0; bit < 8; bit++) value = value & top ? ((value << 1) ^ polynomial) & mask : (value << 1) & mask
  }
  return value
}

const mp3FrameBytes = 417
const mp3FrameSeconds = 1152 / 44_100

/** Writes silence as MP3 (44.1 kHz stereo, 128 kbit/s). */
export function writeMp3({ seconds }: Silence): Buffer {
  const frame = Buffer.alloc(mp3FrameBytes)
  frame.writeUInt32BE(0xfffb9000)
  return Buffer.concat(Array.from({ length: Math.max(1, Math.ceil(seconds / mp3FrameSeconds)) }, () => frame))
}

const opusPacket = Buffer.from([0xf8, 0xff, 0xfe])
const opusFrameSamples = 960

/** Writes silence as Ogg Opus. */
export function writeOpus({ seconds, channels }: Silence): Buffer {
  const head = Buffer.alloc(19)
  head.write('OpusHead', 'latin1')
  head[8] = 1
  head[9] = channels
  head.writeUInt32LE(48_000, 12)
  const tags = Buffer.concat([
    Buffer.from('OpusTags', 'latin1'),
    Buffer.from([9, 0, 0, 0]),
    Buffer.from('simulator'),
    Buffer.alloc(4)
  ])
  const count = Math.max(1, Math.ceil((seconds * 48_000) / opusFrameSamples))
  const pages = [oggPage([head], 0, 0, 2), oggPage([tags], 0, 1, 0)]
  for (let start = 0; start < count; start += 50) {
    const size = Math.min(50, count - start)
    const isLast = start + size >= count
    const packets = Array.from({ length: size }, () => opusPacket)
    pages.push(oggPage(packets, (start + size) * opusFrameSamples, pages.length, isLast ? 4 : 0))
  }
  return Buffer.concat(pages)
}

function oggPage(packets: Buffer[], position: number, sequence: number, flags: number): Buffer {
  const header = Buffer.alloc(27)
  header.write('OggS', 'latin1')
  header[5] = flags
  header.writeBigUInt64LE(BigInt(position), 6)
  header.writeUInt32LE(1, 14)
  header.writeUInt32LE(sequence, 18)
  header[26] = packets.length
  const page = Buffer.concat([header, Buffer.from(packets.map(packet => packet.length)), ...packets])
  page.writeUInt32LE(oggCrc(page), 22)
  return page
}

function oggCrc(bytes: Buffer): number {
  let value = 0
  for (const byte of bytes) {
    value ^= byte << 24
    for (let bit = 0; bit < 8; bit++) value = value & 0x80000000 ? (value << 1) ^ 0x04c11db7 : value << 1
  }
  return value >>> 0
}
