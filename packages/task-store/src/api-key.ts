import { createHash, randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'

const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const form = /^(cbk_([0-9A-Za-z]{11})_[0-9A-Za-z]{43})([0-9A-Za-z]{6})$/

/** Makes a key: `cbk_<id>_<256 random bits><checksum>`. Prefix and checksum let secret scanners find it and typing errors be told apart. */
export const mintApiKey = (): { readonly id: string; readonly text: string } => {
  const id = base62(randomBytes(8), 11)
  const text = `cbk_${id}_${base62(randomBytes(32), 43)}`
  return { id, text: text + checksum(text) }
}

/** The id inside a key; undefined when the text is no key, or was mistyped. */
export const idOfApiKey = (text: string): string | undefined => {
  const [, payload, id, check] = form.exec(text) ?? []
  return payload !== undefined && checksum(payload) === check ? id : undefined
}

/** What is stored of a key. A plain SHA-256 is enough: nobody can try out 256 random bits, so a slow or salted hash would add nothing. */
export const digestOfApiKey = (text: string): string => createHash('sha256').update(text).digest('hex')

const checksum = (text: string): string => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc32(text))
  return base62(bytes, 6)
}

const base62 = (bytes: Buffer, length: number): string => {
  let rest = BigInt(`0x${bytes.toString('hex')}`)
  let text = ''
  for (; rest > 0n; rest /= 62n) text = digits[Number(rest % 62n)] + text
  return text.padStart(length, '0')
}
