/** One part of a multipart body: `filename` is present for files, also when empty. */
export interface Part {
  name: string
  filename: string | undefined
  data: Buffer
}

const maxParts = 100

/** Takes a multipart/form-data body apart. Gives no parts for other content types, as aiohttp does for JSON. */
export function parseMultipart(contentType: string | undefined, body: Buffer): Part[] {
  const boundary = /^multipart\/form-data\b.*?boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType ?? '')
  if (!boundary) return []
  const mark = Buffer.from(`--${boundary[1] ?? boundary[2]}`)
  const parts: Part[] = []
  let at = body.indexOf(mark)
  while (at >= 0 && parts.length < maxParts) {
    const start = at + mark.length
    const end = body.indexOf(mark, start)
    if (end < 0) break
    const part = parsePart(body.subarray(start + 2, end - 2))
    if (part) parts.push(part)
    at = end
  }
  return parts
}

function parsePart(bytes: Buffer): Part | undefined {
  const split = bytes.indexOf('\r\n\r\n')
  if (split < 0) return undefined
  const disposition = /^content-disposition:(.*)$/im.exec(bytes.toString('utf8', 0, split))?.[1] ?? ''
  const name = parameter(disposition, 'name')
  if (name === undefined) return undefined
  return { name, filename: fileName(disposition), data: bytes.subarray(split + 4) }
}

function fileName(disposition: string): string | undefined {
  const encoded = /;\s*filename\*=(?:utf-8)''([^;\s]+)/i.exec(disposition)?.[1]
  return encoded ? decodeURIComponent(encoded) : parameter(disposition, 'filename')
}

function parameter(disposition: string, key: string): string | undefined {
  const match = new RegExp(`;\\s*${key}=(?:"((?:[^"\\\\]|\\\\.)*)"|([^;\\s]*))`, 'i').exec(disposition)
  if (!match) return undefined
  const value = match[1]?.replace(/\\(.)/g, '$1') ?? match[2] ?? ''
  return value
    .replace(/%(22|0D|0A)/gi, code => decodeURIComponent(code))
    .replace(/%[0-9a-f]{2}(?:%[0-9a-f]{2})+/gi, unescaped)
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
