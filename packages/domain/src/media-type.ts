/** What a file is to the one who asked for it. */
export type MediaKind = 'image' | 'video' | 'audio' | '3d' | 'text' | 'file'

const byExtension: Record<string, [type: string, kind: MediaKind]> = {
  png: ['image/png', 'image'],
  apng: ['image/apng', 'image'],
  jpg: ['image/jpeg', 'image'],
  jpeg: ['image/jpeg', 'image'],
  webp: ['image/webp', 'image'],
  gif: ['image/gif', 'image'],
  avif: ['image/avif', 'image'],
  heic: ['image/heic', 'image'],
  bmp: ['image/bmp', 'image'],
  tif: ['image/tiff', 'image'],
  tiff: ['image/tiff', 'image'],
  svg: ['image/svg+xml', 'image'],
  exr: ['image/x-exr', 'image'],
  mp4: ['video/mp4', 'video'],
  m4v: ['video/mp4', 'video'],
  webm: ['video/webm', 'video'],
  mkv: ['video/x-matroska', 'video'],
  mov: ['video/quicktime', 'video'],
  avi: ['video/x-msvideo', 'video'],
  wav: ['audio/wav', 'audio'],
  mp3: ['audio/mpeg', 'audio'],
  flac: ['audio/flac', 'audio'],
  opus: ['audio/ogg', 'audio'],
  ogg: ['audio/ogg', 'audio'],
  m4a: ['audio/mp4', 'audio'],
  aac: ['audio/aac', 'audio'],
  glb: ['model/gltf-binary', '3d'],
  gltf: ['model/gltf+json', '3d'],
  obj: ['model/obj', '3d'],
  stl: ['model/stl', '3d'],
  fbx: ['application/octet-stream', '3d'],
  ply: ['application/octet-stream', '3d'],
  usdz: ['model/vnd.usdz+zip', '3d'],
  splat: ['application/octet-stream', '3d'],
  txt: ['text/plain; charset=utf-8', 'text'],
  md: ['text/markdown; charset=utf-8', 'text'],
  csv: ['text/csv; charset=utf-8', 'text'],
  srt: ['text/plain; charset=utf-8', 'text'],
  vtt: ['text/vtt; charset=utf-8', 'text'],
  json: ['application/json', 'text']
}

const byKey: Record<string, MediaKind> = {
  images: 'image',
  gifs: 'video',
  video: 'video',
  videos: 'video',
  audio: 'audio',
  '3d': '3d'
}

const ascii = (head: Uint8Array, from: number, to: number): string => String.fromCharCode(...head.subarray(from, to))

const extensionOf = (filename: string): string => /\.([A-Za-z0-9]+)$/.exec(filename)?.[1]?.toLowerCase() ?? ''

/** RIFF, ISO and EBML are containers: which of their types it is, the file's own marks tell. */
const byMagic = (head: Uint8Array): string | undefined => {
  const start = ascii(head, 0, 12)
  if (start.startsWith('\x89PNG\r\n\x1a\n')) return 'image/png'
  if (start.startsWith('\xff\xd8\xff')) return 'image/jpeg'
  if (start.startsWith('GIF8')) return 'image/gif'
  if (start.startsWith('BM') && head.length > 26 && head[14] === 40) return 'image/bmp'
  if (start.startsWith('RIFF'))
    return { WEBP: 'image/webp', WAVE: 'audio/wav', 'AVI ': 'video/x-msvideo' }[start.slice(8)]
  if (start.slice(4, 8) === 'ftyp') {
    const brand = start.slice(8)
    if (brand.startsWith('avif')) return 'image/avif'
    if (/^hei[cxms]/.test(brand)) return 'image/heic'
    if (brand.startsWith('M4A')) return 'audio/mp4'
    return brand.startsWith('qt') ? 'video/quicktime' : 'video/mp4'
  }
  if (start.startsWith('\x1aE\xdf\xa3')) return ascii(head, 0, 64).includes('webm') ? 'video/webm' : 'video/x-matroska'
  if (start.startsWith('fLaC')) return 'audio/flac'
  if (start.startsWith('OggS')) return 'audio/ogg'
  if (start.startsWith('ID3')) return 'audio/mpeg'
  if (start.startsWith('glTF')) return 'model/gltf-binary'
  return undefined
}

/** The kind of a file by its extension; where that says nothing, by the key under which ComfyUI listed it. */
export const kindOf = (filename: string, key: string): MediaKind =>
  byExtension[extensionOf(filename)]?.[1] ?? byKey[key] ?? 'file'

/**
 * The media type of a file, by its first bytes (64 are enough) where they tell, else by its extension. An animated PNG
 * keeps the type its extension gives, since its first bytes are those of any PNG; so does WebM, whose mark may come later.
 */
export const mediaTypeOf = (filename: string, head: Uint8Array = new Uint8Array()): string => {
  const named = byExtension[extensionOf(filename)]?.[0]
  const magic = byMagic(head)
  if (magic === 'image/png' && named === 'image/apng') return named
  if (magic === 'video/x-matroska' && named === 'video/webm') return named
  return magic ?? named ?? 'application/octet-stream'
}
