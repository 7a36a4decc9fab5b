const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')

/** Whether these bytes are a whole PNG file: its signature, an image header, and the closing chunk. */
export const isPng = (bytes: Buffer): boolean =>
  bytes.subarray(0, 8).equals(signature) &&
  bytes.subarray(12, 16).toString('latin1') === 'IHDR' &&
  bytes.subarray(-8, -4).toString('latin1') === 'IEND'
