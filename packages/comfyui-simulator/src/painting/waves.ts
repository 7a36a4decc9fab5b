import { developRow, over, paintField, readRow } from './canvas.ts'
import { type Color, mix, scaled, smooth } from './color.ts'
import { between } from './random.ts'
import type { Scene, SceneRequest } from './scene.ts'

interface Sheet {
  crest: Float32Array
  left: Color
  right: Color
}

/** Folded sheets of colour, each casting a soft shadow on the one behind it. */
export const paintWaves: Scene = async request => {
  const { width, height, palette, random, breathe } = request
  const glowX = between(random, 0.2, 0.8) * (width / height)
  const glowY = between(random, 0.1, 0.32)
  const backdrop = (x: number, y: number): Color => {
    const base = mix(palette.zenith, palette.horizon, smooth(-0.1, 0.75, y))
    return mix(base, palette.light, Math.exp(-Math.hypot(x - glowX, y - glowY) * 3) * 0.85)
  }
  const field = await paintField({ width, height, step: 6 }, backdrop, breathe)
  const sheets = createSheets(request)
  const pixels = new Uint8Array(width * height * 3)
  const line = new Float32Array(width * 3)
  for (let y = 0; y < height; y++) {
    readRow(field, line, width, y / (height - 1))
    drawSheets(line, y, request, sheets)
    developRow(line, pixels, y, width)
    await breathe()
  }
  return pixels
}

function createSheets(request: SceneRequest): Sheet[] {
  const { palette, random } = request
  const count = 7 + Math.floor(random() * 4)
  const start = between(random, 0.2, 0.34)
  const ramp = [palette.horizon, palette.accent, palette.sky, palette.far, palette.zenith, palette.near]
  const tilt = between(random, -0.22, 0.22)
  return Array.from({ length: count }, (_, index) => {
    const depth = index / (count - 1)
    const tone = rampColor(ramp, depth)
    return {
      crest: foldLine(request, start + (1.02 - start) * depth ** 0.95, tilt * (1 - depth), index),
      left: mix(tone, palette.light, 0.24 * (1 - depth)),
      right: mix(scaled(tone, 0.86), palette.accent, 0.16)
    }
  }).reverse()
}

function rampColor(ramp: Color[], t: number): Color {
  const at = t * (ramp.length - 1)
  const low = Math.min(ramp.length - 2, Math.floor(at))
  return mix(ramp[low] as Color, ramp[low + 1] as Color, at - low)
}

function foldLine(request: SceneRequest, base: number, tilt: number, index: number): Float32Array {
  const { width, height, noise, random } = request
  const shift = random() * 100
  const zoom = between(random, 0.7, 1.5)
  const tall = between(random, 0.1, 0.2)
  return Float32Array.from({ length: width }, (_, pixel) => {
    const x = pixel / height
    const fold = noise.fractal(x * zoom + shift, index * 3.7, 2) + 0.25 * Math.sin(x * 5.2 * zoom + shift)
    return (base + fold * tall + tilt * (x - 0.5)) * height
  })
}

function drawSheets(line: Float32Array, y: number, request: SceneRequest, sheets: Sheet[]): void {
  const { width, height, palette } = request
  const soft = height * 0.05
  for (let pixel = 0; pixel < width; pixel++) {
    let front = 0
    while (front < sheets.length && y < (sheets[front] as Sheet).crest[pixel]! - 0.5) front++
    let shade = 0
    for (let nearer = Math.max(0, front - 3); nearer < front; nearer++) {
      const above = (sheets[nearer] as Sheet).crest[pixel]! - y
      shade = Math.max(shade, 0.62 * Math.exp(-above / soft))
    }
    if (front < sheets.length) drawSheet(line, pixel, y, request, sheets, front)
    if (shade > 0.01) over(line, pixel, scaled(palette.near, 0.55), shade)
  }
}

function drawSheet(
  line: Float32Array,
  pixel: number,
  y: number,
  request: SceneRequest,
  sheets: Sheet[],
  at: number
): void {
  const { width, height, palette } = request
  const sheet = sheets[at] as Sheet
  const below = y - sheet.crest[pixel]!
  const edge = Math.min(1, below + 0.5)
  const behind = sheets[at + 1]
  if (edge < 1 && behind && y >= behind.crest[pixel]!) over(line, pixel, sheetColor(behind, pixel / width, 1), 1)
  const lit = Math.exp(-below / (height * 0.012)) * 0.35 + Math.exp(-below / (height * 0.09)) * 0.18
  over(line, pixel, mix(sheetColor(sheet, pixel / width, below / height), palette.light, lit), edge)
}

function sheetColor(sheet: Sheet, across: number, depth: number): Color {
  return scaled(mix(sheet.left, sheet.right, across), 1 - Math.min(0.28, depth * 1.1))
}
