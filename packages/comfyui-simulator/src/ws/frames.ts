import { type JsonObject, stringifyPythonJson } from '../json/python-json.ts'
import type { Preview } from '../nodes/node-class.ts'

/** Binary frame 1: event 1, format (1 JPEG, 2 PNG), picture. */
export function previewFrame(preview: Preview): Buffer {
  return Buffer.concat([uint32(1), uint32(preview.format === 'jpeg' ? 1 : 2), preview.bytes])
}

/** Binary frame 3: event 3, length of the node id, node id, text. */
export function textFrame(nodeId: string, text: string): Buffer {
  const id = Buffer.from(nodeId)
  return Buffer.concat([uint32(3), uint32(id.length), id, Buffer.from(text)])
}

/** Binary frame 4: event 4, length of the metadata, metadata as JSON, picture. */
export function metadataFrame(place: JsonObject, preview: Preview): Buffer {
  const metadata = Buffer.from(stringifyPythonJson({ ...place, image_type: `image/${preview.format}` }))
  return Buffer.concat([uint32(4), uint32(metadata.length), metadata, preview.bytes])
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
