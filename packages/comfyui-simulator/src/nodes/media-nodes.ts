import { writeFile } from 'node:fs/promises'
import type { FolderType } from '../files/folders.ts'
import { savedName, savedPath, saveTarget } from '../files/save-path.ts'
import type { Json } from '../json/python-json.ts'
import { writeFlac, writeMp3, writeOpus } from '../media/audio-writer.ts'
import { createBreather } from '../media/breather.ts'
import type { ImageBatch } from '../media/image-batch.ts'
import { encodeJpeg } from '../media/jpeg-encoder.ts'
import { type Film, writeMp4 } from '../media/mp4-writer.ts'
import { encodeAnimatedPng } from '../media/png-encoder.ts'
import { writeWebm } from '../media/webm-writer.ts'
import { encodeAnimatedWebp } from '../media/webp-encoder.ts'
import { imageInput, numberInput, textInput } from './inputs.ts'
import { latentInput } from './latent-nodes.ts'
import { type NodeCall, NodeError, type NodeInputs, type NodeLibrary, type NodeOutcome } from './node-class.ts'
import { metadataText, temporaryPrefix } from './saving-nodes.ts'
import { type AudioValue, isType, type LatentValue, type VideoValue } from './values.ts'

/** A file to be written: its kind, its extension and the key it is shown under. */
interface NewFile {
  type: FolderType
  prefix: string
  extension: string
  key: string
  isAnimated?: boolean
  size: { width: number; height: number }
}

const noSize = { width: 0, height: 0 }

/** Films, sounds and latents: making them and writing them to disk. */
export const mediaNodes: NodeLibrary = {
  CreateVideo: {
    execute: inputs => {
      const video: VideoValue = {
        type: 'VIDEO',
        images: imageInput(inputs, 'images'),
        fps: numberInput(inputs, 'fps', 24)
      }
      return { outputs: [video] }
    }
  },
  GetVideoComponents: {
    execute: inputs => {
      const { images, fps } = videoInput(inputs, 'video')
      return { outputs: [images, { type: 'AUDIO', seconds: 1, sampleRate: 44_100, channels: 2 }, fps] }
    }
  },
  EmptyAudio: {
    execute: inputs => {
      const audio: AudioValue = {
        type: 'AUDIO',
        seconds: numberInput(inputs, 'duration', 1),
        sampleRate: numberInput(inputs, 'sample_rate', 44_100),
        channels: numberInput(inputs, 'channels', 2)
      }
      return { outputs: [audio] }
    }
  },
  SaveAnimatedWEBP: {
    execute: async (inputs, call) => {
      const image = imageInput(inputs, 'images')
      const { width, height, channels, frames } = image
      const pictures = frames.map(pixels => ({ width, height, channels, pixels }))
      const bytes = encodeAnimatedWebp(pictures, numberInput(inputs, 'fps', 6))
      return save(bytes, filmFile(inputs, image, 'webp'), call)
    }
  },
  SaveAnimatedPNG: {
    execute: async (inputs, call) => {
      const image = imageInput(inputs, 'images')
      const { width, height, channels, frames } = image
      const pictures = frames.map(pixels => ({ width, height, channels, pixels, text: metadataText(call) }))
      const bytes = await encodeAnimatedPng(
        pictures,
        numberInput(inputs, 'fps', 6),
        numberInput(inputs, 'compress_level', 4)
      )
      return save(bytes, filmFile(inputs, image, 'png'), call)
    }
  },
  SaveWEBM: {
    execute: async (inputs, call) => {
      const image = imageInput(inputs, 'images')
      return save(writeWebm(await filmOf(image, numberInput(inputs, 'fps', 24))), filmFile(inputs, image, 'webm'), call)
    }
  },
  SaveVideo: {
    execute: async (inputs, call) => {
      const { images, fps } = videoInput(inputs, 'video')
      return save(writeMp4(await filmOf(images, fps)), filmFile(inputs, images, 'mp4'), call)
    }
  },
  SaveAudio: { execute: (inputs, call) => saveAudio(inputs, call, 'flac') },
  SaveAudioMP3: { execute: (inputs, call) => saveAudio(inputs, call, 'mp3') },
  SaveAudioOpus: { execute: (inputs, call) => saveAudio(inputs, call, 'opus') },
  PreviewAudio: {
    execute: (inputs, call) => saveAudio({ ...inputs, filename_prefix: temporaryPrefix(call) }, call, 'flac', 'temp')
  },
  SaveLatent: {
    execute: (inputs, call) => {
      const bytes = latentFile(latentInput(inputs, 'samples'))
      const prefix = textInput(inputs, 'filename_prefix', 'latents/ComfyUI')
      return save(bytes, { type: 'output', prefix, extension: 'latent', key: 'latents', size: noSize }, call)
    }
  }
}

/** Writes a film of pictures as MP4 and shows it the way custom nodes show theirs, under `gifs`. */
export async function saveFilm(
  images: ImageBatch,
  fps: number,
  prefix: string,
  type: FolderType,
  call: NodeCall
): Promise<NodeOutcome> {
  return save(writeMp4(await filmOf(images, fps)), { type, prefix, extension: 'mp4', key: 'gifs', size: images }, call)
}

/** Writes a sound as FLAC. */
export function saveSound(audio: AudioValue, prefix: string, type: FolderType, call: NodeCall): Promise<NodeOutcome> {
  return save(writeFlac(audio), { type, prefix, extension: 'flac', key: 'audio', size: noSize }, call)
}

async function filmOf(image: ImageBatch, fps: number): Promise<Film> {
  const breathe = createBreather()
  const { width, height, channels } = image
  const encoded = new Map<Uint8Array, Buffer>()
  for (const pixels of new Set(image.frames)) {
    encoded.set(pixels, encodeJpeg({ width, height, channels, pixels }, 85))
    await breathe()
  }
  return { width, height, fps, frames: image.frames.map(frame => encoded.get(frame) as Buffer) }
}

function filmFile(inputs: NodeInputs, image: ImageBatch, extension: string): NewFile {
  const prefix = textInput(inputs, 'filename_prefix', 'ComfyUI')
  return { type: 'output', prefix, extension, key: 'images', isAnimated: true, size: image }
}

async function save(bytes: Buffer, file: NewFile, call: NodeCall): Promise<NodeOutcome> {
  const target = saveTarget(call.machine.folders, file.type, file.prefix, file.size)
  const filename = savedName(target, 0, file.extension)
  await writeFile(savedPath(target, filename), bytes)
  const shown: Json = { filename, subfolder: target.subfolder, type: file.type }
  return { ui: { [file.key]: [shown], ...(file.isAnimated ? { animated: [true] } : {}) } }
}

function saveAudio(
  inputs: NodeInputs,
  call: NodeCall,
  extension: 'flac' | 'mp3' | 'opus',
  type: FolderType = 'output'
): Promise<NodeOutcome> {
  const audio = inputs.audio
  if (!isType(audio, 'AUDIO')) throw new NodeError('TypeError', "'str' object is not subscriptable")
  const write = { flac: writeFlac, mp3: writeMp3, opus: writeOpus }[extension]
  const prefix = textInput(inputs, 'filename_prefix', 'audio/ComfyUI')
  return save(write(audio as AudioValue), { type, prefix, extension, key: 'audio', size: noSize }, call)
}

function videoInput(inputs: NodeInputs, name: string): VideoValue {
  const value = inputs[name]
  if (isType(value, 'VIDEO')) return value as VideoValue
  throw new NodeError('AttributeError', "'str' object has no attribute 'get_dimensions'")
}

function latentFile({ width, height, count }: LatentValue): Buffer {
  const shape = [count, 4, Math.max(1, height >> 3), Math.max(1, width >> 3)]
  const size = shape.reduce((product, side) => product * side, 4)
  const header = JSON.stringify({ latent_tensor: { dtype: 'F32', shape, data_offsets: [0, size] } })
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  return Buffer.concat([length, Buffer.from(header), Buffer.alloc(size)])
}
