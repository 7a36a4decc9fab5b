const byMediaType: Readonly<Record<string, string>> = {
  'image/png': 'png',
  'image/jpeg': 'jpg',
  'image/webp': 'webp',
  'image/gif': 'gif',
  'image/avif': 'avif',
  'image/heic': 'heic',
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

/**
 * The extension to put a caller's file on a node under: by what its first bytes say it is, else by the first of its names that is a known kind of
 * data, else `bin`.
 */
export const extensionOf = (mediaTypeByBytes: string, names: readonly string[]): string => {
  const told = names.flatMap(name => takenAtItsWord.exec(name)?.[1]?.toLowerCase() ?? [])[0]
  return byMediaType[mediaTypeByBytes] ?? told ?? 'bin'
}
