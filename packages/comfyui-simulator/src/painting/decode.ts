import { blendFrames } from '../media/filters.ts'
import { type ImageBatch, solidImage } from '../media/image-batch.ts'
import { composite, cropFrame } from '../media/layout.ts'
import { resizeFrame, resizeImage } from '../media/resample.ts'
import type { LatentValue } from '../nodes/values.ts'
import { paint } from './painter.ts'
import { randomFrom } from './random.ts'

const maxFilmFrames = 48

/** The size of a latent's picture in 2^20 pixels. */
export function megapixels(latent: { width: number; height: number }): number {
  return (latent.width * latent.height) / 1_048_576
}

/** The picture of a latent: what was painted, mixed with the picture it began with as far as that was kept. */
export async function decodeLatent(latent: LatentValue): Promise<ImageBatch> {
  const { width, height, source, painted } = latent
  const started = source ? await resizeImage(source, width, height, 'bilinear') : undefined
  if (!painted) return started ?? solidImage(width, height, Math.min(latent.count, maxFilmFrames), 0x7f7f7f)
  const fresh = latent.isVideo ? await paintFilm(latent) : await paintBatch(latent)
  if (!started) return fresh
  const kept = { ...fresh, frames: fresh.frames.map((frame, index) => mixed(frame, started, index, painted.denoise)) }
  return latent.mask ? composite(started, kept, latent.mask, 0, 0) : kept
}

/** A small picture of a latent on its way: noise that clears as `progress` goes from 0 to 1. */
export async function createPreviewer(latent: LatentValue): Promise<(progress: number) => ImageBatch> {
  const scale = Math.min(1, 192 / Math.max(latent.width, latent.height))
  const width = Math.max(16, Math.round(latent.width * scale))
  const height = Math.max(16, Math.round(latent.height * scale))
  const small: LatentValue = { ...latent, width, height, count: 1, isVideo: false }
  const picture = (await decodeLatent(small)).frames[0] as Uint8Array
  const random = randomFrom(`noise ${latent.painted?.seed}`)
  const noise = Uint8Array.from({ length: picture.length }, () => 60 + random() * 140)
  return progress => {
    const weight = (1 - Math.min(1, progress)) ** 1.5
    const frame = picture.map((value, at) => value + (noise[at]! - value) * weight)
    return { type: 'IMAGE', width, height, channels: 3, frames: [frame] }
  }
}

function mixed(frame: Uint8Array, started: ImageBatch, index: number, denoise: number): Uint8Array {
  const base = started.frames[Math.min(index, started.frames.length - 1)] as Uint8Array
  return denoise >= 1 ? frame : blendFrames(base, frame, denoise, 'normal')
}

async function paintBatch({ width, height, count, painted }: LatentValue): Promise<ImageBatch> {
  const frames: Uint8Array[] = []
  for (let index = 0; index < count; index++) {
    const { prompt = '', seed = '0', model = '' } = painted ?? {}
    frames.push(await paint({ prompt, model, seed: index === 0 ? seed : `${seed} ${index}`, width, height }))
  }
  return { type: 'IMAGE', width, height, channels: 3, frames }
}

/** A slow pan over one wider painting. */
async function paintFilm({ width, height, count, painted }: LatentValue): Promise<ImageBatch> {
  const length = Math.min(count, maxFilmFrames)
  const { prompt = '', seed = '0', model = '' } = painted ?? {}
  const wide = Math.round(width * 1.25)
  const pixels = await paint({ prompt, seed, model, width: wide, height })
  const frames = Array.from({ length }, (_, index) => {
    const x = Math.round(((wide - width) * index) / Math.max(1, length - 1))
    return cropFrame(pixels, { width: wide, channels: 3 }, { x, y: 0, width, height })
  })
  return { type: 'IMAGE', width, height, channels: 3, frames }
}

/** A picture made smaller so that no side is longer than a limit. */
export async function fitted(
  image: ImageBatch,
  limit: number
): Promise<{ width: number; height: number; pixels: Uint8Array }> {
  const scale = Math.min(1, limit / Math.max(image.width, image.height))
  const width = Math.max(1, Math.round(image.width * scale))
  const height = Math.max(1, Math.round(image.height * scale))
  const pixels = image.frames[0] as Uint8Array
  if (scale === 1) return { width, height, pixels }
  return { width, height, pixels: await resizeFrame({ ...image, pixels }, width, height, 'bilinear') }
}
