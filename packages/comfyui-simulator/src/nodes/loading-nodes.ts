import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { annotatedName, type Folders } from '../files/folders.ts'
import type { JsonObject } from '../json/python-json.ts'
import { type ImageBatch, type MaskBatch, solidMask } from '../media/image-batch.ts'
import { type DecodedPicture, decodePng } from '../media/png-decoder.ts'
import { paint } from '../painting/painter.ts'
import { textInput } from './inputs.ts'
import { channelMask } from './mask-nodes.ts'
import { type NodeCall, type NodeClass, NodeError, type NodeInputs, type NodeLibrary } from './node-class.ts'

/** Nodes that read pictures and sounds from the input folder. */
export const loadingNodes: NodeLibrary = {
  LoadImage: imageLoader(async (inputs, call) => {
    const { image, mask } = await loadPicture(textInput(inputs, 'image'), call)
    return { outputs: [image, mask] }
  }),
  LoadImageOutput: imageLoader(async (inputs, call) => {
    const { image, mask } = await loadPicture(textInput(inputs, 'image'), call)
    return { outputs: [image, mask] }
  }),
  LoadImageMask: imageLoader(async (inputs, call) => {
    const { image, mask } = await loadPicture(textInput(inputs, 'image'), call)
    const channel = ['red', 'green', 'blue', 'alpha'].indexOf(textInput(inputs, 'channel', 'alpha'))
    return { outputs: [channel === 3 ? mask : channelMask(image, channel)] }
  }),
  LoadAudio: {
    execute: () => ({ outputs: [{ type: 'AUDIO', seconds: 3, sampleRate: 44_100, channels: 2 }] }),
    validation: { inputs: ['audio'], check: (inputs, folders) => checkFile(inputs, 'audio', 'audio', folders) }
  },
  LoadVideo: {
    execute: async (inputs, call) => {
      const name = textInput(inputs, 'file')
      const frames = await Promise.all([0, 1, 2, 3].map(index => standIn(`${name} ${index}`, 256, 256)))
      const images: ImageBatch = { type: 'IMAGE', width: 256, height: 256, channels: 3, frames }
      await call.work(0.1)
      return { outputs: [{ type: 'VIDEO', images, fps: 8 }] }
    },
    validation: { inputs: ['file'], check: (inputs, folders) => checkFile(inputs, 'file', 'video', folders) }
  }
}

function imageLoader(execute: NodeClass['execute']): NodeClass {
  return {
    execute,
    validation: { inputs: ['image'], check: (inputs, folders) => checkFile(inputs, 'image', 'image', folders) },
    fingerprint: (inputs, folders) => fileDigest(inputs, folders)
  }
}

function checkFile(inputs: NodeInputs, input: string, kind: string, folders: Folders): true | string {
  const name = textInput(inputs, input)
  if (folders.claimed().has(name)) return true
  const path = pathOf(name, folders)
  return path && existsSync(path) ? true : `Invalid ${kind} file: ${name}`
}

function pathOf(annotated: string, folders: Folders): string | undefined {
  const { name, type } = annotatedName(annotated)
  return name === '' ? undefined : folders.inside(type ?? 'input', name)
}

function fileDigest(inputs: JsonObject, folders: Folders): string {
  const path = pathOf(String(inputs.image), folders)
  return path && existsSync(path) ? createHash('sha256').update(readFileSync(path)).digest('hex') : ''
}

/** Reads a picture: real pixels of a PNG, a painted stand-in for other picture files, an error for anything else. */
export async function loadPicture(name: string, call: NodeCall): Promise<{ image: ImageBatch; mask: MaskBatch }> {
  const path = pathOf(name, call.machine.folders)
  const bytes = path && existsSync(path) ? readFileSync(path) : undefined
  const decoded = bytes ? decodePng(bytes) : undefined
  if (decoded) return fromDecoded(decoded)
  const size = bytes ? pictureSize(bytes) : undefined
  if (bytes && !size) throw new NodeError('PIL.UnidentifiedImageError', `cannot identify image file '${path}'`)
  const { width, height } = size ?? { width: 768, height: 768 }
  const seed = bytes ? createHash('sha256').update(bytes).digest('hex') : name
  const frame = await standIn(seed, width, height)
  return { image: { type: 'IMAGE', width, height, channels: 3, frames: [frame] }, mask: solidMask(64, 64, 1, 0) }
}

function standIn(seed: string, width: number, height: number): Promise<Uint8Array> {
  return paint({ prompt: `loaded ${seed}`, seed, model: 'stand-in', width, height })
}

function fromDecoded({ width, height, rgba, hasAlpha }: DecodedPicture): { image: ImageBatch; mask: MaskBatch } {
  const rgb = new Uint8Array(width * height * 3)
  const inverted = new Uint8Array(width * height)
  for (let pixel = 0; pixel < width * height; pixel++) {
    rgb.set(rgba.subarray(pixel * 4, pixel * 4 + 3), pixel * 3)
    inverted[pixel] = 255 - rgba[pixel * 4 + 3]!
  }
  const image: ImageBatch = { type: 'IMAGE', width, height, channels: 3, frames: [rgb] }
  const mask: MaskBatch = hasAlpha ? { type: 'MASK', width, height, frames: [inverted] } : solidMask(64, 64, 1, 0)
  return { image, mask }
}

const maxSide = 4096

/** The size of a JPEG, WebP, GIF or interlaced PNG, or undefined when the bytes are no picture. */
function pictureSize(bytes: Buffer): { width: number; height: number } | undefined {
  const size = jpegSize(bytes) ?? webpSize(bytes) ?? gifSize(bytes) ?? pngSize(bytes)
  return (
    size && { width: Math.min(maxSide, Math.max(1, size.width)), height: Math.min(maxSide, Math.max(1, size.height)) }
  )
}

function jpegSize(bytes: Buffer): { width: number; height: number } | undefined {
  if (bytes.length < 4 || bytes.readUInt16BE(0) !== 0xffd8) return undefined
  for (let at = 2; at + 9 < bytes.length; ) {
    const marker = bytes[at + 1]!
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc
    if (isFrame) return { height: bytes.readUInt16BE(at + 5), width: bytes.readUInt16BE(at + 7) }
    at += 2 + bytes.readUInt16BE(at + 2)
  }
  return { width: 768, height: 768 }
}

function webpSize(bytes: Buffer): { width: number; height: number } | undefined {
  if (bytes.length < 30 || bytes.toString('latin1', 8, 12) !== 'WEBP') return undefined
  const kind = bytes.toString('latin1', 12, 16)
  if (kind === 'VP8X') return { width: bytes.readUIntLE(24, 3) + 1, height: bytes.readUIntLE(27, 3) + 1 }
  if (kind === 'VP8L') {
    const bits = bytes.readUInt32LE(21)
    return { width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1 }
  }
  return { width: bytes.readUInt16LE(26) & 0x3fff, height: bytes.readUInt16LE(28) & 0x3fff }
}

function gifSize(bytes: Buffer): { width: number; height: number } | undefined {
  if (bytes.length < 10 || bytes.toString('latin1', 0, 3) !== 'GIF') return undefined
  return { width: bytes.readUInt16LE(6), height: bytes.readUInt16LE(8) }
}

function pngSize(bytes: Buffer): { width: number; height: number } | undefined {
  if (bytes.length < 24 || bytes.readUInt32BE(0) !== 0x89504e47) return undefined
  return { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) }
}
