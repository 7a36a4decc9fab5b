import type { Random } from './random.ts'

/** Smooth noise over the plane, about -1 to 1, with features of size 1. */
export interface Noise {
  at(x: number, y: number): number
  /** Several octaves, each of half the size and strength. */
  fractal(x: number, y: number, octaves: number): number
}

/** Gradient noise that is the same for the same random source. */
export function createNoise(random: Random): Noise {
  const order = shuffled(random)
  const gradientX = new Float32Array(256)
  const gradientY = new Float32Array(256)
  for (let index = 0; index < 256; index++) {
    const angle = random() * Math.PI * 2
    gradientX[index] = Math.cos(angle)
    gradientY[index] = Math.sin(angle)
  }

  const corner = (column: number, row: number, dx: number, dy: number): number => {
    const index = order[(order[column & 255]! + row) & 255]!
    return gradientX[index]! * dx + gradientY[index]! * dy
  }

  const at = (x: number, y: number): number => {
    const column = Math.floor(x)
    const row = Math.floor(y)
    const dx = x - column
    const dy = y - row
    const u = dx * dx * dx * (dx * (dx * 6 - 15) + 10)
    const v = dy * dy * dy * (dy * (dy * 6 - 15) + 10)
    const top = corner(column, row, dx, dy) * (1 - u) + corner(column + 1, row, dx - 1, dy) * u
    const bottom = corner(column, row + 1, dx, dy - 1) * (1 - u) + corner(column + 1, row + 1, dx - 1, dy - 1) * u
    return (top * (1 - v) + bottom * v) * 1.5
  }

  const fractal = (x: number, y: number, octaves: number): number => {
    let sum = 0
    let strength = 0.5
    let scale = 1
    for (let octave = 0; octave < octaves; octave++) {
      sum += at(x * scale + octave * 17.3, y * scale + octave * 31.7) * strength
      strength *= 0.5
      scale *= 2
    }
    return sum
  }

  return { at, fractal }
}

function shuffled(random: Random): Uint8Array {
  const order = Uint8Array.from({ length: 256 }, (_, index) => index)
  for (let index = 255; index > 0; index--) {
    const other = Math.floor(random() * (index + 1))
    const held = order[index]!
    order[index] = order[other]!
    order[other] = held
  }
  return order
}
