import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand
} from '@aws-sdk/client-s3'

/** Where an object goes, how large its parts are, and what gives it up. */
export type S3Upload = {
  readonly client: S3Client
  readonly place: { readonly Bucket: string; readonly Key: string }
  readonly partBytes: number
  readonly signal: AbortSignal | undefined
}

/**
 * Stores a stream of unknown length, in parts when it does not fit into one, through a single buffer: the part that is sent has left it
 * before the next is read. Parts of an upload that fails are given up before this throws.
 */
export const uploadToS3 = async (upload: S3Upload, chunks: AsyncIterable<Uint8Array>): Promise<void> => {
  const parts = partsOf(chunks, upload.partBytes)
  try {
    const { value: first = Buffer.alloc(0) } = await parts.next()
    if (first.byteLength === upload.partBytes) return await uploadInParts(upload, first, parts)
    await upload.client.send(new PutObjectCommand({ ...upload.place, Body: first }), { abortSignal: upload.signal })
  } finally {
    await parts.return()
  }
}

type Parts = AsyncGenerator<Buffer, void, void>

const uploadInParts = async ({ client, place, signal }: S3Upload, first: Buffer, rest: Parts): Promise<void> => {
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(place), { abortSignal: signal })
  const done: CompletedPart[] = []
  const sendPart = async (Body: Buffer): Promise<void> => {
    const PartNumber = done.length + 1
    const part = new UploadPartCommand({ ...place, UploadId, PartNumber, Body })
    const { ETag } = await client.send(part, { abortSignal: signal })
    done.push({ PartNumber, ETag })
  }
  try {
    await sendPart(first)
    for await (const part of rest) await sendPart(part)
    const whole = { ...place, UploadId, MultipartUpload: { Parts: done } }
    await client.send(new CompleteMultipartUploadCommand(whole), { abortSignal: signal })
  } catch (error) {
    await client.send(new AbortMultipartUploadCommand({ ...place, UploadId })).catch(() => undefined)
    throw error
  }
}

/** The bytes in pieces of this size, the last one shorter, all in the same memory. */
async function* partsOf(chunks: AsyncIterable<Uint8Array>, partBytes: number): Parts {
  const part = Buffer.allocUnsafeSlow(partBytes)
  let filled = 0
  for await (const chunk of chunks) {
    for (let from = 0; from < chunk.byteLength; ) {
      const piece = chunk.subarray(from, from + partBytes - filled)
      part.set(piece, filled)
      filled += piece.byteLength
      from += piece.byteLength
      if (filled < partBytes) continue
      yield part
      filled = 0
    }
  }
  if (filled > 0) yield part.subarray(0, filled)
}
