import { shine } from './canvas.ts'
import type { Color } from './color.ts'
import { between, type Random } from './random.ts'

interface Star {
  x: number
  y: number
  strength: number
  radius: number
}

/** Stars sorted by row; `draw` adds the ones that touch a row. */
export interface Stars {
  draw(line: Float32Array, row: number, width: number): void
}

/** Scatters stars over the upper `depth` of a picture, mostly small ones. */
export function createStars(
  random: Random,
  size: { width: number; height: number; depth: number },
  count: number,
  color: Color
): Stars {
  const unit = Math.min(size.width, size.height) / 1024
  const stars: Star[] = Array.from({ length: count }, () => ({
    x: random() * size.width,
    y: random() ** 1.3 * size.height * size.depth,
    strength: between(random, 0.15, 0.9) * random(),
    radius: Math.max(0.55, unit * (random() < 0.03 ? between(random, 2.2, 3.6) : between(random, 0.6, 1.3)))
  }))
  stars.sort((a, b) => a.y - b.y)
  const reach = Math.ceil(Math.max(2, unit * 8))

  const draw = (line: Float32Array, row: number, width: number): void => {
    for (let index = lowerBound(stars, row - reach); index < stars.length; index++) {
      const star = stars[index] as Star
      if (star.y > row + reach) return
      glow(line, row, width, star, reach, color)
    }
  }
  return { draw }
}

function glow(line: Float32Array, row: number, width: number, star: Star, reach: number, color: Color): void {
  const from = Math.max(0, Math.floor(star.x - reach))
  const to = Math.min(width - 1, Math.ceil(star.x + reach))
  for (let pixel = from; pixel <= to; pixel++) {
    const squared = (pixel - star.x) ** 2 + (row - star.y) ** 2
    const light = Math.exp(-squared / (star.radius * star.radius)) * star.strength * 1.6
    if (light > 0.004) shine(line, pixel, color, light)
  }
}

function lowerBound(stars: Star[], y: number): number {
  let low = 0
  let high = stars.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((stars[middle] as Star).y < y) low = middle + 1
    else high = middle
  }
  return low
}
