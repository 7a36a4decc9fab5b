import type { ImageBatch } from '../media/image-batch.ts'
import { encodeJpeg } from '../media/jpeg-encoder.ts'
import { createPreviewer, fitted, megapixels } from '../painting/decode.ts'
import { numberInput, textInput } from './inputs.ts'
import { filesOf, latentInput } from './latent-nodes.ts'
import { loadFiles } from './model-loaders.ts'
import type { NodeCall, NodeInputs, NodeLibrary, Preview } from './node-class.ts'
import {
  type ConditioningValue,
  type GuiderValue,
  isType,
  type LatentValue,
  type ModelValue,
  type NoiseValue,
  type SigmasValue
} from './values.ts'

/** What a sampler is to do. */
export interface SamplingPlan {
  latent: LatentValue
  files: string[]
  model: string
  prompt: string
  seed: string
  steps: number
  denoise: number
}

const referenceBytes = 6.94e9
const referenceStepSeconds = 0.12

/** Samplers, schedulers and what they are fed with. */
export const samplingNodes: NodeLibrary = {
  KSampler: {
    execute: async (inputs, call) => {
      const plan = planFrom(inputs, String(inputs.seed ?? 0), numberInput(inputs, 'steps', 20))
      return { outputs: [await sample({ ...plan, denoise: numberInput(inputs, 'denoise', 1) }, call)] }
    }
  },
  KSamplerAdvanced: {
    execute: async (inputs, call) => {
      const all = numberInput(inputs, 'steps', 20)
      const start = Math.min(all, numberInput(inputs, 'start_at_step'))
      const steps = Math.max(0, Math.min(all, numberInput(inputs, 'end_at_step', all)) - start)
      const plan = planFrom(inputs, String(inputs.noise_seed ?? 0), steps)
      return { outputs: [await sample({ ...plan, denoise: all === 0 ? 0 : 1 - start / all }, call)] }
    }
  },
  SamplerCustom: {
    execute: async (inputs, call) => {
      const { steps, denoise } = sigmasInput(inputs)
      const plan = planFrom(inputs, String(inputs.noise_seed ?? 0), steps)
      const done = await sample({ ...plan, denoise }, call)
      return { outputs: [done, done] }
    }
  },
  SamplerCustomAdvanced: {
    execute: async (inputs, call) => {
      const { steps, denoise } = sigmasInput(inputs)
      const guider = inputs.guider as GuiderValue | undefined
      const plan: SamplingPlan = {
        latent: latentInput(inputs, 'latent_image'),
        files: guider?.files ?? [],
        model: guider?.model?.name ?? '',
        prompt: guider?.text ?? '',
        seed: (inputs.noise as NoiseValue | undefined)?.seed ?? '0',
        steps,
        denoise
      }
      const done = await sample(plan, call)
      return { outputs: [done, done] }
    }
  },
  RandomNoise: { execute: inputs => ({ outputs: [{ type: 'NOISE', seed: String(inputs.noise_seed ?? 0) }] }) },
  DisableNoise: { execute: () => ({ outputs: [{ type: 'NOISE', seed: '0' }] }) },
  BasicGuider: { execute: inputs => ({ outputs: [guider(inputs, inputs.conditioning)] }) },
  CFGGuider: { execute: inputs => ({ outputs: [guider(inputs, inputs.positive)] }) },
  KSamplerSelect: {
    execute: inputs => ({ outputs: [{ type: 'SAMPLER', files: [], name: textInput(inputs, 'sampler_name') }] })
  }
}

for (const name of ['BasicScheduler', 'KarrasScheduler', 'ExponentialScheduler', 'SDTurboScheduler', 'LTXVScheduler']) {
  samplingNodes[name] = {
    execute: inputs => {
      const steps = numberInput(inputs, 'steps', 20)
      return { outputs: [{ type: 'SIGMAS', steps, denoise: numberInput(inputs, 'denoise', 1) }] }
    }
  }
}

/** Works through the steps of a sampler: time by model and size, progress and a picture per step. */
export async function sample(plan: SamplingPlan, call: NodeCall): Promise<LatentValue> {
  await loadFiles(plan.files, call)
  const { prompt, seed, model, denoise } = plan
  const latent: LatentValue = { ...plan.latent, painted: { prompt, seed, model, denoise } }
  const secondsPerStep = stepSeconds(plan, call)
  const preview = call.machine.hasPreviews ? await createPreviewer(latent) : undefined
  for (let step = 1; step <= plan.steps; step++) {
    await call.work(secondsPerStep)
    call.progress(step, plan.steps, preview ? await jpegOf(preview(step / plan.steps)) : undefined)
  }
  return latent
}

function stepSeconds({ latent, model, files }: SamplingPlan, call: NodeCall): number {
  const bytes = call.machine.catalogue.bytesOf(model || (files[0] ?? ''))
  const frames = latent.isVideo ? Math.sqrt(latent.count) : latent.count
  return referenceStepSeconds * (bytes / referenceBytes) ** 1.3 * Math.max(0.05, megapixels(latent)) * frames
}

/** A JPEG of the first picture of a batch, no side longer than 512. */
export async function jpegOf(image: ImageBatch, quality = 85): Promise<Preview> {
  const { width, height, pixels } = await fitted(image, 512)
  return { format: 'jpeg', bytes: encodeJpeg({ width, height, channels: image.channels, pixels }, quality) }
}

function planFrom(inputs: NodeInputs, seed: string, steps: number): SamplingPlan {
  const model = inputs.model as ModelValue | undefined
  const positive = inputs.positive as ConditioningValue | undefined
  return {
    latent: latentInput(inputs, 'latent_image'),
    files: filesOf(model),
    model: model?.name ?? '',
    prompt: isType(positive, 'CONDITIONING') ? (positive as ConditioningValue).text : '',
    seed,
    steps,
    denoise: 1
  }
}

function sigmasInput(inputs: NodeInputs): SigmasValue {
  const value = inputs.sigmas
  return isType(value, 'SIGMAS') ? (value as SigmasValue) : { type: 'SIGMAS', steps: 20, denoise: 1 }
}

function guider(inputs: NodeInputs, condition: unknown): GuiderValue {
  const model = (inputs.model as ModelValue | undefined) ?? { type: 'MODEL', files: [], name: '' }
  const text = isType(condition, 'CONDITIONING') ? (condition as ConditioningValue).text : ''
  return { type: 'GUIDER', model, text, files: model.files }
}
