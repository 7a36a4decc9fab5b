/** A film of JPEG pictures. */
export interface Film {
  width: number
  height: number
  fps: number
  frames: Buffer[]
}

const timescale = 90_000

/** Writes an MP4 whose pictures are JPEGs (Motion JPEG): small code, plays in VLC and ffmpeg. */
export function writeMp4(film: Film): Buffer {
  const type = box('ftyp', Buffer.from('isom\0\0\x02\0isommp41', 'latin1'))
  const data = box('mdat', Buffer.concat(film.frames))
  const movie = movieBox(film, type.length + 8)
  return Buffer.concat([type, data, movie])
}

function movieBox(film: Film, dataAt: number): Buffer {
  const tick = Math.max(1, Math.round(timescale / film.fps))
  const duration = tick * film.frames.length
  const matrix = numbers(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
  const header = full(
    'mvhd',
    0,
    numbers(0, 0, timescale, duration, 0x10000),
    words(0x100, 0),
    numbers(0, 0),
    matrix,
    Buffer.alloc(24),
    numbers(2)
  )
  const size = numbers(film.width << 16, film.height << 16)
  const trackHeader = full('tkhd', 3, numbers(0, 0, 1, 0, duration, 0, 0), words(0, 0, 0, 0), matrix, size)
  const mediaHeader = full('mdhd', 0, numbers(0, 0, timescale, duration), words(0x55c4, 0))
  const handler = full(
    'hdlr',
    0,
    numbers(0),
    Buffer.from('vide', 'latin1'),
    Buffer.alloc(12),
    Buffer.from('Video\0', 'latin1')
  )
  const source = box('dinf', full('dref', 0, numbers(1), full('url ', 1)))
  const media = box('minf', full('vmhd', 1, words(0, 0, 0, 0)), source, sampleTable(film, dataAt, tick))
  return box('moov', header, box('trak', trackHeader, box('mdia', mediaHeader, handler, media)))
}

function sampleTable(film: Film, dataAt: number, tick: number): Buffer {
  const count = film.frames.length
  return box(
    'stbl',
    full('stsd', 0, numbers(1), sampleEntry(film)),
    full('stts', 0, numbers(1, count, tick)),
    full('stsc', 0, numbers(1, 1, count, 1)),
    full('stsz', 0, numbers(0, count, ...film.frames.map(frame => frame.length))),
    full('stco', 0, numbers(1, dataAt))
  )
}

function sampleEntry(film: Film): Buffer {
  const jpegObject = 0x6c
  const config = Buffer.from([0x04, 13, jpegObject, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
  const descriptor = Buffer.concat([
    Buffer.from([0x03, 3 + config.length + 3, 0, 1, 0]),
    config,
    Buffer.from([0x06, 1, 2])
  ])
  const size = words(film.width, film.height)
  const visual = Buffer.concat([
    Buffer.alloc(6),
    words(1),
    Buffer.alloc(16),
    size,
    numbers(0x480000, 0x480000, 0),
    words(1),
    Buffer.alloc(32),
    words(24, 0xffff)
  ])
  return box('mp4v', visual, full('esds', 0, descriptor))
}

function box(name: string, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([numbers(body.length + 8), Buffer.from(name, 'latin1'), body])
}

function full(name: string, flags: number, ...parts: Buffer[]): Buffer {
  return box(name, numbers(flags), ...parts)
}

function numbers(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4)
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, index * 4)
  return bytes
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2)
  for (const [index, value] of values.entries()) bytes.writeUInt16BE(value & 0xffff, index * 2)
  return bytes
}
