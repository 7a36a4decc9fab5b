import { developRow, over, paintField, readRow } from './canvas.ts'
import { type Color, mix, scaled, smooth } from './color.ts'
import { between, type Random } from './random.ts'
import type { Scene, SceneRequest } from './scene.ts'
import { createStars } from './stars.ts'

interface Ridge {
  crest: Float32Array
  color: Color
  mist: Color
  reach: number
}

interface Sun {
  x: number
  y: number
  radius: number
}

/** Layered ridges under a lit sky, with mist, stars or aurora, trees in front and sometimes a lake. */
export const paintMountains: Scene = async request => {
  const { width, height, palette, random, breathe } = request
  const aspect = width / height
  const sun: Sun = {
    x: between(random, 0.22, 0.78) * aspect,
    y: between(random, 0.2, 0.46),
    radius: between(random, 0.028, 0.06)
  }
  const lake = random() < 0.55 ? Math.round(height * between(random, 0.7, 0.8)) : height
  const sky = await paintField({ width, height, step: 4 }, skyColor(request, sun), breathe)
  const ridges = createRidges(request, lake / height)
  const starCount = palette.isNight ? 420 : 0
  const stars = createStars(random, { width, height, depth: 0.7 }, starCount, palette.light)
  const pixels = new Uint8Array(width * height * 3)
  const lines = Array.from({ length: lake < height ? lake : 0 }, () => new Float32Array(width * 3))
  const spare = new Float32Array(width * 3)
  for (let y = 0; y < Math.min(lake, height); y++) {
    const line = lines[y] ?? spare
    readRow(sky, line, width, y / (height - 1))
    stars.draw(line, y, width)
    drawSun(line, y, request, sun)
    drawRidges(line, y, width, ridges)
    developRow(line, pixels, y, width)
    await breathe()
  }
  if (lake < height) await drawLake(request, lines, pixels, lake)
  return pixels
}

function skyColor(request: SceneRequest, sun: Sun): (x: number, y: number) => Color {
  const { palette, noise, random } = request
  const cloudiness = between(random, -0.08, 0.2)
  const aurora = palette.isNight ? createAurora(request) : undefined
  return (x, y) => {
    const base =
      y < 0.45
        ? mix(palette.zenith, palette.sky, smooth(0, 0.45, y))
        : mix(palette.sky, palette.horizon, smooth(0.4, 0.78, y))
    const distance = Math.hypot(x - sun.x, (y - sun.y) * 1.15)
    const glow = (Math.exp(-distance * 5.2) * 0.75 + Math.exp(-distance * 1.9) * 0.3) * (palette.isNight ? 0.4 : 1)
    const lit = mix(base, palette.light, Math.min(0.92, glow))
    const warp = noise.at(x * 1.3 + 3, y * 3.1) * 0.6
    const cloud = smooth(0.02, 0.5, noise.fractal(x * 1.5 + warp, y * 5.2 + warp * 0.4, 5) + cloudiness)
    const cover = cloud * (palette.isNight ? 0.28 : 0.62) * smooth(0.9, 0.35, y)
    const cloudColor = mix(mix(palette.sky, palette.accent, 0.35), palette.light, Math.min(1, glow * 1.5 + 0.15))
    const color = mix(lit, cloudColor, cover)
    return aurora ? add(color, aurora(x, y)) : color
  }
}

function createAurora(request: SceneRequest): (x: number, y: number) => Color {
  const { palette, noise, random } = request
  const bands = Array.from({ length: 3 }, (_, index) => ({
    base: between(random, 0.3, 0.52) - index * 0.07,
    shift: random() * 50,
    tall: between(random, 0.16, 0.34),
    tint: mix(palette.accent, palette.horizon, index * 0.4)
  }))
  return (x, y) => {
    let color: Color = [0, 0, 0]
    for (const band of bands) {
      const fold = noise.fractal(x * 1.1 + band.shift, band.shift, 3) * 0.2
      const above = band.base + fold - y
      if (above < -0.03) continue
      const rays = 0.55 + 0.45 * noise.at(x * 9 + band.shift + fold * 8, y * 0.6)
      const strength = smooth(-0.03, 0.015, above) * Math.exp((-above / band.tall) * 2.4) * rays
      color = add(color, scaled(band.tint, Math.max(0, strength) * 0.62))
    }
    return color
  }
}

function add(a: Color, b: Color): Color {
  return [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

function drawSun(line: Float32Array, y: number, request: SceneRequest, sun: Sun): void {
  const { width, height, palette } = request
  const radius = sun.radius * height
  const dy = y - sun.y * height
  if (Math.abs(dy) > radius + 1) return
  const center = sun.x * height
  for (
    let pixel = Math.max(0, Math.floor(center - radius - 1));
    pixel < Math.min(width, center + radius + 2);
    pixel++
  ) {
    const inside = radius - Math.hypot(pixel - center, dy)
    if (inside > -1) over(line, pixel, scaled(palette.light, 1.12), Math.min(1, Math.max(0, inside + 0.5)) * 0.95)
  }
}

function createRidges(request: SceneRequest, ground: number): Ridge[] {
  const { random, palette } = request
  const count = 4 + Math.floor(random() * 3)
  const top = between(random, 0.42, 0.54)
  const ridges: Ridge[] = []
  for (let index = 0; index < count; index++) {
    const depth = index / (count - 1)
    const base = top + (ground - top) * depth ** 0.9 * 0.93
    const tone = mix(mix(palette.horizon, palette.far, 0.45 + depth * 0.55), palette.near, depth ** 1.15)
    const crest = ridgeLine(request, base, (0.17 - 0.09 * depth) * between(random, 0.8, 1.25), depth)
    if (index === count - 1) plantTrees(crest, request, random)
    const mist = mix(palette.horizon, palette.light, 0.12)
    ridges.unshift({
      crest,
      color: tone,
      mist: mix(tone, mist, 0.62 * (1 - depth) + 0.05),
      reach: request.height * 0.16
    })
  }
  return ridges
}

function ridgeLine(request: SceneRequest, base: number, tall: number, depth: number): Float32Array {
  const { width, height, noise, random } = request
  const shift = random() * 200
  const zoom = between(random, 1.5, 2.5) + depth * 1.2
  const crest = new Float32Array(width)
  for (let pixel = 0; pixel < width; pixel++) {
    const x = (pixel / height) * zoom + shift
    const peaks = 1 - Math.abs(noise.fractal(x, shift, 6)) * 2
    const rolling = noise.fractal(x * 0.5, shift + 9, 4)
    const shape = peaks * (1 - depth * 0.7) * 0.75 + rolling * 0.8 - 0.25
    crest[pixel] = (base - shape * tall) * height
  }
  return crest
}

function plantTrees(crest: Float32Array, request: SceneRequest, random: Random): void {
  const { width, height, noise } = request
  const count = Math.round((width / height) * between(random, 60, 110))
  const ground = Float32Array.from(crest)
  for (let index = 0; index < count; index++) {
    const center = Math.floor(random() * width)
    const dense = noise.at((center / height) * 3.1, 77)
    if (dense < -0.15) continue
    const tall = height * between(random, 0.02, 0.062) * (0.7 + dense)
    const half = tall * between(random, 0.16, 0.24)
    for (let pixel = Math.max(0, Math.floor(center - half)); pixel <= Math.min(width - 1, center + half); pixel++) {
      const along = 1 - Math.abs(pixel - center) / half
      const boughs = 0.86 + 0.14 * Math.cos(along * 26)
      crest[pixel] = Math.min(crest[pixel]!, ground[center]! + tall * 0.12 - tall * along * boughs)
    }
  }
}

function drawRidges(line: Float32Array, y: number, width: number, ridges: Ridge[]): void {
  for (let pixel = 0; pixel < width; pixel++) {
    let front = 0
    while (front < ridges.length && y < (ridges[front] as Ridge).crest[pixel]! - 0.5) front++
    if (front === ridges.length) continue
    const edge = Math.min(1, y - (ridges[front] as Ridge).crest[pixel]! + 0.5)
    const behind = edge < 1 ? ridges[front + 1] : undefined
    if (behind && y >= behind.crest[pixel]!) over(line, pixel, ridgeColor(behind, y, pixel), 1)
    over(line, pixel, ridgeColor(ridges[front] as Ridge, y, pixel), edge)
  }
}

function ridgeColor(ridge: Ridge, y: number, pixel: number): Color {
  return mix(ridge.color, ridge.mist, smooth(0, ridge.reach, y - ridge.crest[pixel]!))
}

async function drawLake(request: SceneRequest, lines: Float32Array[], pixels: Uint8Array, lake: number): Promise<void> {
  const { width, height, palette, noise, breathe } = request
  const line = new Float32Array(width * 3)
  const deep = mix(palette.near, palette.sky, 0.35)
  for (let y = lake; y < height; y++) {
    const depth = (y - lake) / (height - lake)
    const mirrored = lines[Math.max(0, lake - 1 - Math.round((y - lake) * 1.12))] as Float32Array
    const sway = 1 + depth * 9
    for (let pixel = 0; pixel < width; pixel++) {
      const ripple = noise.at((pixel / height) * (9 - depth * 5), (y / height) * (150 - depth * 110))
      const from = Math.min(width - 1, Math.max(0, Math.round(pixel + ripple * sway * (height / 1024))))
      const shade = 0.86 + ripple * 0.07
      for (let channel = 0; channel < 3; channel++) line[pixel * 3 + channel] = mirrored[from * 3 + channel]! * shade
      over(line, pixel, deep, 0.16 + depth * 0.34)
    }
    developRow(line, pixels, y, width)
    await breathe()
  }
}
