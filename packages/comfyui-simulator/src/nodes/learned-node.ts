import type { FolderType } from '../files/folders.ts'
import { isImage, isMask } from '../media/image-batch.ts'
import { encodePng } from '../media/png-encoder.ts'
import { numberInput, textInput } from './inputs.ts'
import { maskToImage } from './mask-nodes.ts'
import { saveFilm, saveSound } from './media-nodes.ts'
import type { NodeCall, NodeClass, NodeInputs, NodeOutcome } from './node-class.ts'
import { modelFilesOf, passThrough } from './pass-through.ts'
import { sample } from './sampling-nodes.ts'
import { saveImages, temporaryPrefix } from './saving-nodes.ts'
import {
  type AudioValue,
  type ConditioningValue,
  isType,
  type LatentValue,
  type ModelValue,
  type VideoValue
} from './values.ts'

/** How a class nobody described behaves: it samples when it has steps and a latent, shows what it gets, or passes things on. */
export function learnedNode(isOutput: boolean): NodeClass {
  return {
    execute: async (inputs, call) => {
      const latent = Object.values(inputs).find(value => isType(value, 'LATENT')) as LatentValue | undefined
      const worked = latent && 'steps' in inputs ? await sampled(inputs, latent, call) : inputs
      const outcome = await passThrough.execute(worked, call)
      return isOutput ? { ...outcome, ...(await show(inputs, call)) } : outcome
    }
  }
}

async function sampled(inputs: NodeInputs, latent: LatentValue, call: NodeCall): Promise<NodeInputs> {
  const values = Object.values(inputs)
  const model = values.find(value => isType(value, 'MODEL')) as ModelValue | undefined
  const condition = values.find(value => isType(value, 'CONDITIONING')) as ConditioningValue | undefined
  const files = model?.files ?? modelFilesOf(inputs)
  const done = await sample(
    {
      latent,
      files,
      model: model?.name ?? files[0] ?? '',
      prompt: condition?.text ?? '',
      seed: String(inputs.seed ?? inputs.noise_seed ?? 0),
      steps: Math.min(200, numberInput(inputs, 'steps', 20)),
      denoise: numberInput(inputs, 'denoise', 1)
    },
    call
  )
  return Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, value === latent ? done : value]))
}

async function show(inputs: NodeInputs, call: NodeCall): Promise<NodeOutcome> {
  const values = Object.values(inputs)
  const type: FolderType = /save|export|write|combine|output/i.test(call.classType) ? 'output' : 'temp'
  const prefix = type === 'temp' ? temporaryPrefix(call) : textInput(inputs, 'filename_prefix', 'ComfyUI')
  const video = values.find(value => isType(value, 'VIDEO')) as VideoValue | undefined
  if (video) return saveFilm(video.images, video.fps, prefix, type, call)
  const image = values.find(isImage)
  const rate = numberInput(inputs, 'frame_rate', numberInput(inputs, 'fps', 8))
  if (image && /video|gif|anim/i.test(call.classType)) return saveFilm(image, rate, prefix, type, call)
  if (image && /ws|websocket/i.test(call.classType)) return sendImages(image, call)
  if (image) return saveImages(image, type, prefix, call)
  const mask = values.find(isMask)
  if (mask) return saveImages(maskToImage(mask), type, prefix, call)
  const audio = values.find(value => isType(value, 'AUDIO')) as AudioValue | undefined
  if (audio) return saveSound(audio, prefix, type, call)
  const text = values.find(value => typeof value === 'string') as string | undefined
  return text === undefined ? {} : { ui: { text: [text] } }
}

async function sendImages(image: Parameters<typeof saveImages>[0], call: NodeCall): Promise<NodeOutcome> {
  const { frames, width, height, channels } = image
  for (const [index, pixels] of frames.entries()) {
    const bytes = await encodePng({ width, height, channels, pixels })
    call.progress(index, frames.length, { format: 'png', bytes })
  }
  return {}
}
