import fc from 'fast-check'

/** A multipart body, right or wrong in one way. */
export type Form = { readonly contentType: string; readonly bytes: Buffer; readonly wrong: string }

type Part = { readonly head: string; readonly bytes: Buffer }

const pngStart = Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex')
/** The beginning of a PNG that says so much about its size; nothing decodes more than that. */
const pngOf = (width: number, height: number): Buffer => {
  const size = Buffer.alloc(13)
  size.writeUInt32BE(width, 0)
  size.writeUInt32BE(height, 4)
  size.set([8, 6, 0, 0, 0], 8)
  return Buffer.concat([pngStart, size, Buffer.from('0000000049454e44ae426082', 'hex')])
}

const contents = fc.oneof(
  fc.constantFrom(
    ...[pngOf(64, 64), pngOf(1, 1), pngOf(30_000, 30_000), pngOf(0, 0), pngOf(2 ** 32 - 1, 2 ** 32 - 1)],
    ...[pngStart, Buffer.from('ffd8ffe000104a464946', 'hex'), Buffer.from('RIFF\xff\xff\xff\xffWEBPVP8X', 'latin1')],
    ...['GIF89a\xff\xff\xff\xff', '<svg onload="alert(1)"/>', '<!doctype html>', 'PK\x03\x04', '%PDF-1.7', ''].map(
      text => Buffer.from(text, 'latin1')
    )
  ),
  fc.uint8Array({ maxLength: 2_000 }).map(bytes => Buffer.from(bytes))
)

const filenames = fc.oneof(
  fc.constantFrom('a.png', 'b.jpg', 'c.safetensors', '../../etc/passwd', 'C:\\x.png', '.', '..', '', 'x'.repeat(1_000)),
  fc.constantFrom('a\\"b.png', "a';b.png", 'a%00.png', 'ä.png', '💥.png', 'x.png [output]', 'a.svg', 'a.html', 'con'),
  fc.string({ maxLength: 40 }).map(text => text.replace(/["\r\n]/g, ''))
)

const filePart = (name: string, filename: string, bytes: Buffer): Part => ({
  head: `Content-Disposition: form-data; name="${name}"; filename="${filename}"\r\nContent-Type: application/octet-stream`,
  bytes
})
const field = (name: string): Part => ({
  head: `Content-Disposition: form-data; name="${name}"`,
  bytes: Buffer.from('1')
})

const whole = (parts: readonly Part[], boundary = 'fuzz'): Buffer =>
  Buffer.concat([
    ...parts.flatMap(({ head, bytes }) => [
      Buffer.from(`--${boundary}\r\n${head}\r\n\r\n`),
      bytes,
      Buffer.from('\r\n')
    ]),
    Buffer.from(`--${boundary}--\r\n`)
  ])

const usual = 'multipart/form-data; boundary=fuzz'
const form = (wrong: string, bytes: Buffer, contentType = usual): Form => ({ contentType, bytes, wrong })

/** Forms of one file as the API asks for them, and forms that are wrong in the ways that forms can be. */
export const uploads: fc.Arbitrary<Form> = fc.tuple(contents, filenames, fc.nat()).chain(([bytes, filename, n]) => {
  const good = filePart('file', filename, bytes)
  const text = whole([good])
  return fc.oneof(
    { weight: 4, arbitrary: fc.constant(form('', text)) },
    {
      weight: 3,
      arbitrary: fc.constantFrom(
        form('two files', whole([good, good])),
        form('another name', whole([filePart('image', filename, bytes)])),
        form('a field', whole([field('file')])),
        form('a field more', whole([good, field('more')])),
        form('__proto__', whole([filePart('__proto__', filename, bytes)])),
        form('no part', whole([])),
        form('nothing', Buffer.of()),
        form('cut off', text.subarray(0, n % text.length)),
        form('another boundary', text, 'multipart/form-data; boundary=other'),
        form('no boundary', text, 'multipart/form-data'),
        form('a long boundary', text, `multipart/form-data; boundary=${'x'.repeat(300)}`),
        form('a long header', whole([{ head: `${good.head}\r\nX-A: ${'x'.repeat(100_000)}`, bytes }])),
        form('many headers', whole([{ head: `${good.head}${'\r\nX-A: 1'.repeat(3_000)}`, bytes }])),
        form('many fields', whole([...Array.from({ length: 500 }, (_, i) => field(`f${i}`)), good])),
        form('no disposition', whole([{ head: 'Content-Type: image/png', bytes }])),
        form('JSON', Buffer.from('{"file":"x"}'), 'application/json'),
        form('mixed', text, 'multipart/mixed; boundary=fuzz')
      )
    }
  )
})
