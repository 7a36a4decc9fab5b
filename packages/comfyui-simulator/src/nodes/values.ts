import type { ImageBatch, MaskBatch } from '../media/image-batch.ts'

/** Something that was loaded from model files: a network, a text encoder, an autoencoder, an upscaler. */
export interface ModelValue {
  readonly type: string
  /** The files it needs in VRAM. */
  readonly files: string[]
  /** The file that gives it its name. */
  readonly name: string
}

/** A text (or picture) condition. */
export interface ConditioningValue {
  readonly type: 'CONDITIONING'
  readonly text: string
  readonly files: string[]
}

/** A picture in latent space: nothing yet, an encoded picture, or what a sampler made of it. */
export interface LatentValue {
  readonly type: 'LATENT'
  readonly width: number
  readonly height: number
  readonly count: number
  /** The pictures of the batch are moments of one film. */
  readonly isVideo?: boolean
  readonly source?: ImageBatch
  readonly mask?: MaskBatch
  readonly painted?: { prompt: string; seed: string; model: string; denoise: number }
}

/** A sound: silence or a tone of some seconds. */
export interface AudioValue {
  readonly type: 'AUDIO'
  readonly seconds: number
  readonly sampleRate: number
  readonly channels: number
}

/** A film: pictures at a rate, with or without sound. */
export interface VideoValue {
  readonly type: 'VIDEO'
  readonly images: ImageBatch
  readonly fps: number
}

/** A seed carried from RandomNoise to a sampler. */
export interface NoiseValue {
  readonly type: 'NOISE'
  readonly seed: string
}

/** Steps of a schedule and how much of the picture they replace. */
export interface SigmasValue {
  readonly type: 'SIGMAS'
  readonly steps: number
  readonly denoise: number
}

/** A model together with what it is to paint. */
export interface GuiderValue {
  readonly type: 'GUIDER'
  readonly model: ModelValue
  readonly text: string
  readonly files: string[]
}

/** Whether a value is of a type. */
export function isType(value: unknown, type: string): boolean {
  return typeof value === 'object' && value !== null && (value as { type?: unknown }).type === type
}

/** The model files that any of the values keeps alive. */
export function modelNamesIn(values: Iterable<unknown>): Set<string> {
  const names = new Set<string>()
  for (const value of values) {
    const files = (value as { files?: unknown } | null | undefined)?.files
    if (Array.isArray(files)) for (const file of files) names.add(String(file))
  }
  return names
}
