import { randomUUID } from 'node:crypto'
import { type CallBounds, jsonOf, type Transport } from './transport.ts'
import { type FileName, readUploaded } from './wire.ts'

/** A file for one of ComfyUI's folders (`input` unless told). Without `overwrite` ComfyUI renames a file whose name is taken by other content. */
export type Upload = CallBounds & {
  readonly filename: string
  readonly subfolder?: string
  readonly type?: FileName['type']
  readonly overwrite?: boolean
  readonly body: Uint8Array | AsyncIterable<Uint8Array>
}

const quoted = (text: string): string => text.replaceAll('"', '%22').replaceAll('\r', '%0D').replaceAll('\n', '%0A')

async function* multipart(upload: Upload, boundary: string): AsyncGenerator<Uint8Array> {
  const fields = {
    type: upload.type ?? 'input',
    subfolder: upload.subfolder ?? '',
    overwrite: upload.overwrite ? 'true' : 'false'
  }
  for (const [name, value] of Object.entries(fields)) {
    yield Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`)
  }
  const head = `Content-Disposition: form-data; name="image"; filename="${quoted(upload.filename)}"`
  yield Buffer.from(`--${boundary}\r\n${head}\r\nContent-Type: application/octet-stream\r\n\r\n`)
  if (upload.body instanceof Uint8Array) yield upload.body
  else yield* upload.body
  yield Buffer.from(`\r\n--${boundary}--\r\n`)
}

/** Uploads a file of any kind and returns the name ComfyUI gave it, which is the one to use. */
export const uploadFile = async (transport: Transport, upload: Upload, timeoutMs: number): Promise<FileName> => {
  const boundary = `comfy-balancer-${randomUUID()}`
  const answer = await transport.send({
    method: 'POST',
    path: '/upload/image',
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
    body: multipart(upload, boundary),
    timeoutMs: upload.timeoutMs ?? timeoutMs,
    signal: upload.signal
  })
  return readUploaded(jsonOf(answer, '/upload/image'))
}
