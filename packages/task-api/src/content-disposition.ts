/** Media that a browser shows without running anything in it. */
const shown = /^(image\/(?!svg)|video\/|audio\/|text\/plain\b)/

const notAttributeCharacters = /['()*]/g
const percent = (char: string): string => `%${char.charCodeAt(0).toString(16).toUpperCase()}`

/** How a browser treats a file (RFC 6266): media are shown, anything else is saved; the name survives in whatever script it is written. */
export const contentDisposition = (filename: string, mediaType: string): string => {
  const wellFormed = Buffer.from(filename, 'utf8').toString('utf8')
  const encoded = encodeURIComponent(wellFormed).replace(notAttributeCharacters, percent)
  const ascii = wellFormed.replace(/[^A-Za-z0-9 ._-]/g, '_')
  return `${shown.test(mediaType) ? 'inline' : 'attachment'}; filename="${ascii}"; filename*=UTF-8''${encoded}`
}
