import type { ImageBatch, MaskBatch } from '../media/image-batch.ts'
import { resizeImage } from '../media/resample.ts'
import { decodeLatent, megapixels } from '../painting/decode.ts'
import { imageInput, numberInput } from './inputs.ts'
import { loadFiles } from './model-loaders.ts'
import {
  type NodeCall,
  type NodeClass,
  NodeError,
  type NodeInputs,
  type NodeLibrary,
  type NodeOutcome
} from './node-class.ts'
import { isType, type LatentValue, type ModelValue } from './values.ts'

const decodeSecondsPerMegapixel = 0.22

const empty: NodeClass = {
  execute: inputs => {
    const size = { width: numberInput(inputs, 'width', 512), height: numberInput(inputs, 'height', 512) }
    return latent({ type: 'LATENT', ...size, count: numberInput(inputs, 'batch_size', 1) })
  }
}
const emptyVideo: NodeClass = {
  execute: inputs => {
    const size = { width: numberInput(inputs, 'width', 512), height: numberInput(inputs, 'height', 512) }
    return latent({ type: 'LATENT', ...size, count: numberInput(inputs, 'length', 25), isVideo: true })
  }
}
const decode: NodeClass = {
  execute: async (inputs, call) => {
    const samples = latentInput(inputs, 'samples')
    await loadFiles(filesOf(inputs.vae), call)
    const frames = samples.isVideo ? Math.sqrt(samples.count) : samples.count
    await call.work(decodeSecondsPerMegapixel * megapixels(samples) * frames)
    return { outputs: [await decodeLatent(samples)] }
  }
}
const encode: NodeClass = { execute: (inputs, call) => encodePixels(inputs, call) }

/** Latents: empty ones, encoding, decoding and changes of size. */
export const latentNodes: NodeLibrary = {
  EmptyLatentImage: empty,
  EmptySD3LatentImage: empty,
  EmptyHunyuanLatentVideo: emptyVideo,
  EmptyLTXVLatentVideo: emptyVideo,
  EmptyMochiLatentVideo: emptyVideo,
  VAEDecode: decode,
  VAEDecodeTiled: decode,
  VAEEncode: encode,
  VAEEncodeTiled: encode,
  VAEEncodeForInpaint: encode,
  LatentUpscale: {
    execute: inputs => {
      const samples = latentInput(inputs, 'samples')
      const width = numberInput(inputs, 'width') || samples.width
      return latent({ ...samples, width, height: numberInput(inputs, 'height') || samples.height })
    }
  },
  LatentUpscaleBy: {
    execute: inputs => {
      const samples = latentInput(inputs, 'samples')
      const side = (length: number) => Math.round((length * numberInput(inputs, 'scale_by', 1)) / 8) * 8
      return latent({ ...samples, width: side(samples.width), height: side(samples.height) })
    }
  },
  LatentFromBatch: {
    execute: inputs => latent({ ...latentInput(inputs, 'samples'), count: numberInput(inputs, 'length', 1) })
  },
  RepeatLatentBatch: {
    execute: inputs => {
      const samples = latentInput(inputs, 'samples')
      return latent({ ...samples, count: samples.count * numberInput(inputs, 'amount', 1) })
    }
  },
  LatentBlend: { execute: inputs => latent(latentInput(inputs, 'samples1')) },
  LatentComposite: { execute: inputs => latent(latentInput(inputs, 'samples_to')) },
  SetLatentNoiseMask: {
    execute: inputs => {
      const samples = latentInput(inputs, 'samples')
      return latent(isType(inputs.mask, 'MASK') ? { ...samples, mask: inputs.mask as MaskBatch } : samples)
    }
  },
  ImageUpscaleWithModel: {
    execute: async (inputs, call) => {
      const image = imageInput(inputs, 'image')
      await loadFiles(filesOf(inputs.upscale_model), call)
      return { outputs: [await upscaled(image, inputs.upscale_model as ModelValue | undefined, call)] }
    }
  }
}

/** A latent input. Throws the TypeError a Python node would raise for anything else. */
export function latentInput(inputs: NodeInputs, name: string): LatentValue {
  const value = inputs[name]
  if (isType(value, 'LATENT')) return value as LatentValue
  throw new NodeError('TypeError', 'string indices must be integers')
}

function latent(value: LatentValue): NodeOutcome {
  return { outputs: [value] }
}

/** The files of a model value; none for other values. */
export function filesOf(value: unknown): string[] {
  return (value as ModelValue | undefined)?.files ?? []
}

async function encodePixels(inputs: NodeInputs, call: NodeCall): Promise<NodeOutcome> {
  const source = imageInput(inputs, 'pixels')
  await loadFiles(filesOf(inputs.vae), call)
  const [width, height] = [Math.max(8, source.width & ~7), Math.max(8, source.height & ~7)]
  await call.work(decodeSecondsPerMegapixel * ((width * height) / 1_048_576) * source.frames.length)
  const mask = isType(inputs.mask, 'MASK') ? { mask: inputs.mask as MaskBatch } : {}
  return latent({ type: 'LATENT', width, height, count: source.frames.length, source, ...mask })
}

async function upscaled(image: ImageBatch, model: ModelValue | undefined, call: NodeCall): Promise<ImageBatch> {
  const factor = Number(/(\d)x/i.exec(model?.name ?? '')?.[1] ?? /x(\d)/i.exec(model?.name ?? '')?.[1] ?? 4)
  const tiles = Math.max(1, Math.ceil((image.width * image.height) / 262_144)) * image.frames.length
  for (let tile = 1; tile <= tiles; tile++) {
    await call.work(0.12)
    call.progress(tile, tiles)
  }
  return resizeImage(image, Math.min(8192, image.width * factor), Math.min(8192, image.height * factor), 'bicubic')
}
