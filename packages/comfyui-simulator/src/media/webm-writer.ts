import type { Film } from './mp4-writer.ts'

const maxClusterMs = 30_000

/** Writes a WebM-style Matroska file whose pictures are JPEGs (V_MJPEG). */
export function writeWebm(film: Film): Buffer {
  const head = element(0x1a45dfa3, [
    uint(0x4286, 1),
    uint(0x42f7, 1),
    uint(0x42f2, 4),
    uint(0x42f3, 8),
    element(0x4282, [Buffer.from('webm')]),
    uint(0x4287, 4),
    uint(0x4285, 2)
  ])
  const frameMs = 1000 / film.fps
  const video = element(0xe0, [uint(0xb0, film.width), uint(0xba, film.height)])
  const track = element(0xae, [
    uint(0xd7, 1),
    uint(0x73c5, 1),
    uint(0x83, 1),
    element(0x86, [Buffer.from('V_MJPEG')]),
    video
  ])
  const info = element(0x1549a966, [uint(0x2ad7b1, 1_000_000), element(0x4489, [float(frameMs * film.frames.length)])])
  const segment = element(0x18538067, [info, element(0x1654ae6b, [track]), ...clusters(film.frames, frameMs)])
  return Buffer.concat([head, segment])
}

function clusters(frames: Buffer[], frameMs: number): Buffer[] {
  const perCluster = Math.max(1, Math.floor(maxClusterMs / frameMs))
  const out: Buffer[] = []
  for (let start = 0; start < frames.length; start += perCluster) {
    const startMs = Math.round(start * frameMs)
    const blocks = frames.slice(start, start + perCluster).map((frame, index) => {
      const header = Buffer.alloc(4)
      header[0] = 0x81
      header.writeInt16BE(Math.round((start + index) * frameMs) - startMs, 1)
      header[3] = 0x80
      return element(0xa3, [header, frame])
    })
    out.push(element(0x1f43b675, [uint(0xe7, startMs), ...blocks]))
  }
  return out
}

function element(id: number, parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const size = Buffer.alloc(8)
  size.writeBigUInt64BE(0x0100000000000000n | BigInt(body.length))
  return Buffer.concat([idBytes(id), size, body])
}

function uint(id: number, value: number): Buffer {
  const bytes = Buffer.alloc(6)
  bytes.writeUIntBE(value, 0, 6)
  return element(id, [bytes])
}

function float(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleBE(value)
  return bytes
}

function idBytes(id: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(id >>> 0)
  return bytes.subarray(bytes.findIndex(byte => byte !== 0))
}
