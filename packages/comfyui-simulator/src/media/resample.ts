import { createBreather } from './breather.ts'
import type { ImageBatch } from './image-batch.ts'

/** How `resizeFrame` chooses colours between the pixels. */
export type ResampleMethod = 'nearest-exact' | 'bilinear' | 'area' | 'bicubic' | 'lanczos'

interface Taps {
  /** For each new pixel, `count` places in the old row and their weights. */
  places: Int32Array
  weights: Float32Array
  count: number
}

/** Resizes every picture of a batch, letting the event loop run meanwhile. */
export async function resizeImage(
  image: ImageBatch,
  width: number,
  height: number,
  method: ResampleMethod
): Promise<ImageBatch> {
  const resized = new Map<Uint8Array, Uint8Array>()
  for (const frame of new Set(image.frames)) {
    resized.set(frame, await resizeFrame({ ...image, pixels: frame }, width, height, method))
  }
  return { ...image, width, height, frames: image.frames.map(frame => resized.get(frame) as Uint8Array) }
}

/** One picture of 8-bit samples. */
export interface Frame {
  width: number
  height: number
  channels: number
  pixels: Uint8Array
}

/** Resizes one picture; shrinking averages over the covered pixels. */
export async function resizeFrame(
  source: Frame,
  width: number,
  height: number,
  method: ResampleMethod
): Promise<Uint8Array> {
  const breathe = createBreather()
  const across = taps(source.width, width, method)
  const down = taps(source.height, height, method)
  const stride = width * source.channels
  const wide = new Float32Array(stride * source.height)
  for (let y = 0; y < source.height; y++) {
    stretchRow(source, wide, y, width, across)
    await breathe()
  }
  const out = new Uint8Array(stride * height)
  const line = new Float32Array(stride)
  for (let y = 0; y < height; y++) {
    mixRows(wide, line, y, down)
    for (let index = 0; index < stride; index++)
      out[y * stride + index] = Math.min(255, Math.max(0, line[index]! + 0.5))
    await breathe()
  }
  return out
}

function mixRows(wide: Float32Array, line: Float32Array, y: number, down: Taps): void {
  line.fill(0)
  for (let tap = 0; tap < down.count; tap++) {
    const weight = down.weights[y * down.count + tap]!
    if (weight === 0) continue
    const from = down.places[y * down.count + tap]! * line.length
    for (let index = 0; index < line.length; index++) line[index]! += weight * wide[from + index]!
  }
}

function stretchRow(source: Frame, wide: Float32Array, y: number, width: number, across: Taps): void {
  const { channels, pixels } = source
  const rowAt = y * source.width * channels
  for (let x = 0; x < width; x++) {
    const to = (y * width + x) * channels
    for (let tap = 0; tap < across.count; tap++) {
      const weight = across.weights[x * across.count + tap]!
      if (weight === 0) continue
      const from = rowAt + across.places[x * across.count + tap]! * channels
      for (let channel = 0; channel < channels; channel++) wide[to + channel]! += weight * pixels[from + channel]!
    }
  }
}

const radii: Record<ResampleMethod, number> = { 'nearest-exact': 0.5, bilinear: 1, area: 0.5, bicubic: 2, lanczos: 3 }

function taps(from: number, to: number, method: ResampleMethod): Taps {
  if (method === 'nearest-exact') return nearestTaps(from, to)
  const ratio = from / to
  const stretch = Math.max(1, ratio)
  const count = Math.ceil(radii[method] * stretch) * 2 + 1
  const places = new Int32Array(to * count)
  const weights = new Float32Array(to * count)
  for (let index = 0; index < to; index++) {
    const center = (index + 0.5) * ratio - 0.5
    const first = Math.round(center) - Math.floor(count / 2)
    let sum = 0
    for (let tap = 0; tap < count; tap++) {
      const weight = kernel(method, (first + tap - center) / stretch)
      places[index * count + tap] = Math.min(from - 1, Math.max(0, first + tap))
      weights[index * count + tap] = weight
      sum += weight
    }
    for (let tap = 0; tap < count; tap++) weights[index * count + tap]! /= sum || 1
  }
  return { places, weights, count }
}

function nearestTaps(from: number, to: number): Taps {
  const places = Int32Array.from({ length: to }, (_, index) => Math.floor(((index + 0.5) * from) / to))
  return { places, weights: new Float32Array(to).fill(1), count: 1 }
}

function kernel(method: ResampleMethod, offset: number): number {
  const distance = Math.abs(offset)
  if (method === 'area') return distance <= 0.5 ? 1 : 0
  if (method === 'bilinear') return Math.max(0, 1 - distance)
  if (method === 'bicubic') return cubic(distance)
  if (distance >= 3) return 0
  return distance < 1e-6 ? 1 : sinc(distance) * sinc(distance / 3)
}

function cubic(distance: number): number {
  if (distance < 1) return 1.25 * distance ** 3 - 2.25 * distance ** 2 + 1
  return distance < 2 ? -0.75 * (distance ** 3 - 5 * distance ** 2 + 8 * distance - 4) : 0
}

function sinc(x: number): number {
  return Math.sin(Math.PI * x) / (Math.PI * x)
}
