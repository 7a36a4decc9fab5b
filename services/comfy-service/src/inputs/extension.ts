import { mediaTypeOf } from '@comfy-balancer/domain/media-type'
import type { FetchedFile } from '@comfy-balancer/service-kit/egress'

const headBytes = 64

const byMediaType: Readonly<Record<string, string>> = {
  'image/png': 'png',
  'image/jpeg': 'jpg',
  'image/webp': 'webp',
  'image/gif': 'gif',
  'image/avif': 'avif',
  'image/bmp': 'bmp',
  'video/mp4': 'mp4',
  'video/quicktime': 'mov',
  'video/webm': 'webm',
  'video/x-matroska': 'mkv',
  'video/x-msvideo': 'avi',
  'audio/wav': 'wav',
  'audio/mpeg': 'mp3',
  'audio/mp4': 'm4a',
  'audio/flac': 'flac',
  'audio/ogg': 'ogg',
  'model/gltf-binary': 'glb'
}

/** Kinds of file whose first bytes say nothing. What a browser would run, such as SVG and HTML, is not among them. */
const takenAtItsWord = /\.(tiff?|exr|hdr|mp3|aac|obj|stl|fbx|ply|gltf|splat|txt|csv|srt|vtt|json|latent|safetensors)$/i

/** The extension to store a fetched file under: by its first bytes, else by its URL when that is a known kind of data, else `bin`. */
export const extensionOf = ({ bytes, url }: Pick<FetchedFile, 'bytes' | 'url'>): string => {
  const magic = byMediaType[mediaTypeOf('', bytes.subarray(0, headBytes))]
  return magic ?? takenAtItsWord.exec(new URL(url).pathname)?.[1]?.toLowerCase() ?? 'bin'
}
