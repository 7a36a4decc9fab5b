import { createBreather } from './breather.ts'
import type { ImageBatch } from './image-batch.ts'

/** Applies a function to every picture of a batch that shares samples only once. */
export function mapFrames(image: ImageBatch, change: (frame: Uint8Array) => Uint8Array): ImageBatch {
  const changed = new Map<Uint8Array, Uint8Array>()
  for (const frame of new Set(image.frames)) changed.set(frame, change(frame))
  return { ...image, frames: image.frames.map(frame => changed.get(frame) as Uint8Array) }
}

/** Blurs with a Gaussian of a radius in pixels and a sigma in pixels; the edge repeats. */
export async function blurImage(image: ImageBatch, radius: number, sigma: number): Promise<ImageBatch> {
  const weights = gaussian(radius, sigma)
  const blurred = new Map<Uint8Array, Uint8Array>()
  for (const frame of new Set(image.frames)) {
    const across = await convolve(frame, image.channels, image.width, weights)
    blurred.set(frame, await convolve(across, image.channels * image.width, image.height, weights))
  }
  return { ...image, frames: image.frames.map(frame => blurred.get(frame) as Uint8Array) }
}

/** Sharpens by adding `alpha` times the difference from the blurred picture. */
export async function sharpenImage(
  image: ImageBatch,
  radius: number,
  sigma: number,
  alpha: number
): Promise<ImageBatch> {
  const soft = await blurImage(image, radius, sigma)
  const frames = image.frames.map((frame, index) => {
    const blurred = soft.frames[index] as Uint8Array
    return Uint8Array.from(frame, (value, at) => clamped(value + alpha * (value - blurred[at]!)))
  })
  return { ...image, frames }
}

/** Mixes two pictures of one size channel by channel, as ComfyUI's ImageBlend modes do; `factor` is 0 to 1. */
export function blendFrames(base: Uint8Array, top: Uint8Array, factor: number, mode: string): Uint8Array {
  const mix = blendModes[mode] ?? ((_: number, b: number) => b)
  return Uint8Array.from(base, (value, at) => {
    const a = value / 255
    return clamped((a * (1 - factor) + mix(a, top[at]! / 255) * factor) * 255)
  })
}

const blendModes: Record<string, (a: number, b: number) => number> = {
  normal: (_, b) => b,
  multiply: (a, b) => a * b,
  screen: (a, b) => 1 - (1 - a) * (1 - b),
  overlay: (a, b) => (a <= 0.5 ? 2 * a * b : 1 - 2 * (1 - a) * (1 - b)),
  soft_light: (a, b) => (b <= 0.5 ? a - (1 - 2 * b) * a * (1 - a) : a + (2 * b - 1) * (Math.sqrt(a) - a)),
  difference: (a, b) => a - b
}

function clamped(value: number): number {
  return Math.min(255, Math.max(0, Math.round(value)))
}

function gaussian(radius: number, sigma: number): Float32Array {
  const weights = Float32Array.from({ length: 2 * radius + 1 }, (_, at) =>
    Math.exp(-((at - radius) ** 2) / (2 * sigma ** 2))
  )
  const sum = weights.reduce((total, weight) => total + weight, 0)
  return weights.map(weight => weight / sum)
}

/** Weighs neighbours `step` samples apart along lines of `length` of them. */
async function convolve(frame: Uint8Array, step: number, length: number, weights: Float32Array): Promise<Uint8Array> {
  const breathe = createBreather()
  const radius = (weights.length - 1) / 2
  const out = new Uint8Array(frame.length)
  for (let at = 0; at < frame.length; at++) {
    const place = Math.floor(at / step) % length
    let sum = 0
    for (let tap = -radius; tap <= radius; tap++) {
      const near = Math.min(length - 1, Math.max(0, place + tap)) - place
      sum += weights[tap + radius]! * frame[at + near * step]!
    }
    out[at] = sum + 0.5
    if ((at & 4095) === 0) await breathe()
  }
  return out
}
