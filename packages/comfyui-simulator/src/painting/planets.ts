import { developRow, over, paintField, readRow, shine } from './canvas.ts'
import { type Color, mix, scaled, smooth } from './color.ts'
import type { Noise } from './noise.ts'
import { between } from './random.ts'
import type { Scene, SceneRequest } from './scene.ts'
import { createStars } from './stars.ts'

interface Planet {
  x: number
  y: number
  radius: number
  tints: [Color, Color, Color]
  bands: number
  shift: number
  tilt: number
  ring: { inner: number; outer: number; flat: number } | undefined
}

/** Planets before a nebula, lit from one side. */
export const paintPlanets: Scene = async request => {
  const { width, height, palette, random, breathe } = request
  const nebula = await paintField({ width, height, step: 3 }, nebulaColor(request), breathe)
  const stars = createStars(random, { width, height, depth: 1 }, 620, mix(palette.light, [1, 1, 1], 0.4))
  const planets = createPlanets(request)
  const angle = between(random, -2.7, -0.4)
  const light: Color = [Math.cos(angle) * 0.8, Math.sin(angle) * 0.8, 0.6]
  const pixels = new Uint8Array(width * height * 3)
  const line = new Float32Array(width * 3)
  for (let y = 0; y < height; y++) {
    readRow(nebula, line, width, y / (height - 1))
    stars.draw(line, y, width)
    for (const planet of planets) drawPlanet(line, y, request, planet, light)
    developRow(line, pixels, y, width)
    await breathe()
  }
  return pixels
}

function nebulaColor(request: SceneRequest): (x: number, y: number) => Color {
  const { palette, noise, random } = request
  const shift = random() * 90
  const slope = between(random, -0.8, 0.8)
  const dark = scaled(palette.zenith, 0.3)
  return (x, y) => {
    const bendX = noise.fractal(x * 1.4 + shift, y * 1.4, 4)
    const bendY = noise.fractal(x * 1.4, y * 1.4 + shift + 40, 4)
    const dust = noise.fractal(x * 2 + bendX * 1.7, y * 2 + bendY * 1.7 + shift, 5)
    const lane = Math.exp(-(((y - 0.5 - slope * (x - 0.6) + bendX * 0.35) / 0.3) ** 2))
    const density = smooth(-0.25, 0.55, dust + lane * 0.38 - 0.12)
    const tint = mix(mix(palette.sky, palette.accent, smooth(-0.3, 0.4, bendX)), palette.horizon, smooth(0, 0.5, bendY))
    const cloud = mix(dark, tint, density * 0.85)
    return mix(cloud, palette.light, smooth(0.28, 0.75, dust * lane + density * 0.3) * 0.55)
  }
}

function createPlanets(request: SceneRequest): Planet[] {
  const { random, width, height, palette } = request
  const unit = Math.min(width, height)
  const big = between(random, 0.19, 0.31) * unit
  const colors: [Color, Color, Color] = [palette.far, palette.horizon, palette.accent]
  const planet = (radius: number, x: number, y: number, ringed: boolean): Planet => ({
    x,
    y,
    radius,
    tints: random() < 0.5 ? colors : [colors[2], colors[0], palette.light],
    bands: random() < 0.5 ? between(random, 2.5, 5) : 0,
    shift: random() * 100,
    tilt: between(random, -0.5, 0.5),
    ring: ringed ? { inner: 1.35, outer: between(random, 1.9, 2.3), flat: between(random, 0.16, 0.3) } : undefined
  })
  const left = random() < 0.5
  const main = planet(
    big,
    width * between(random, left ? 0.28 : 0.55, left ? 0.45 : 0.72),
    height * between(random, 0.4, 0.62),
    random() < 0.6
  )
  const moons = Array.from({ length: 1 + Math.floor(random() * 2) }, (_, index) =>
    planet(
      big * between(random, 0.13, 0.26),
      width * (left ? between(random, 0.68, 0.9) : between(random, 0.1, 0.32)),
      height * (index === 0 ? between(random, 0.14, 0.34) : between(random, 0.7, 0.88)),
      false
    )
  )
  return [...moons, main]
}

function drawPlanet(line: Float32Array, y: number, request: SceneRequest, planet: Planet, light: Color): void {
  const { radius } = planet
  const dy = (y - planet.y) / radius
  const reach = planet.ring ? planet.ring.outer * 1.05 : 1.5
  if (Math.abs(dy) > reach) return
  const from = Math.max(0, Math.floor(planet.x - reach * radius))
  const to = Math.min(request.width - 1, Math.ceil(planet.x + reach * radius))
  for (let pixel = from; pixel <= to; pixel++) {
    const dx = (pixel - planet.x) / radius
    const ring = planet.ring ? ringAt(planet, dx, dy) : undefined
    if (ring?.isBehind) over(line, pixel, request.palette.light, ring.alpha)
    const distance = Math.hypot(dx, dy)
    if (distance < 1.5) drawBody(line, pixel, request, planet, light, dx, dy, distance)
    if (ring && !ring.isBehind) over(line, pixel, request.palette.light, ring.alpha)
  }
}

function drawBody(
  line: Float32Array,
  pixel: number,
  request: SceneRequest,
  planet: Planet,
  light: Color,
  dx: number,
  dy: number,
  distance: number
): void {
  const halo = Math.exp(-Math.max(0, distance - 1) * 11) * Math.max(0, 0.35 + dx * light[0] + dy * light[1])
  if (distance >= 1) shine(line, pixel, request.palette.accent, halo * 0.42)
  const inside = (1 - distance) * planet.radius + 0.5
  if (inside <= 0) return
  const dz = Math.sqrt(Math.max(0, 1 - distance * distance))
  const lit = smooth(-0.18, 0.95, dx * light[0] + dy * light[1] + dz * light[2])
  const rim = (1 - dz) ** 2.6
  const surface = surfaceColor(planet, request.noise, dx, dy, dz)
  const shaded = mix(scaled(surface, 0.05), scaled(surface, 1.1), lit)
  over(line, pixel, mix(shaded, request.palette.light, rim * lit * 0.75), Math.min(1, inside))
}

function surfaceColor(planet: Planet, noise: Noise, dx: number, dy: number, dz: number): Color {
  const u = dx * Math.cos(planet.tilt) - dy * Math.sin(planet.tilt)
  const v = dx * Math.sin(planet.tilt) + dy * Math.cos(planet.tilt)
  const swirl = noise.fractal(u * 1.8 + planet.shift, v * 2.6 + dz, 4)
  const wave =
    planet.bands > 0
      ? 0.5 + 0.5 * Math.sin(v * planet.bands * 3 + swirl * 2.2 + planet.shift)
      : smooth(-0.35, 0.4, noise.fractal(u * 2.4 + planet.shift + swirl, v * 2.4 + dz * 1.5, 5))
  return mix(mix(planet.tints[0], planet.tints[1], wave), planet.tints[2], smooth(0.1, 0.6, swirl) * 0.6)
}

function ringAt(planet: Planet, dx: number, dy: number): { alpha: number; isBehind: boolean } | undefined {
  const { inner, outer, flat } = planet.ring as { inner: number; outer: number; flat: number }
  const u = dx * Math.cos(planet.tilt) - dy * Math.sin(planet.tilt)
  const v = (dx * Math.sin(planet.tilt) + dy * Math.cos(planet.tilt)) / flat
  const distance = Math.hypot(u, v)
  if (distance < inner || distance > outer) return undefined
  const across = (distance - inner) / (outer - inner)
  const grooves = 0.6 + 0.4 * Math.sin(across * 40 + planet.shift) * Math.sin(across * 17)
  const alpha = smooth(0, 0.1, across) * smooth(1, 0.8, across) * grooves * 0.55
  return { alpha, isBehind: v < 0 }
}
