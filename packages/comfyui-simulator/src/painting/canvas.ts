import type { Breather } from '../media/breather.ts'
import type { Color } from './color.ts'

/** A colour field computed at a fraction of the picture's size and read smoothly in between. */
export interface Field {
  columns: number
  rows: number
  values: Float32Array
}

/** Computes a field over the unit square; `aspect` is width divided by height and `x` runs from 0 to it. */
export async function paintField(
  size: { width: number; height: number; step: number },
  colorAt: (x: number, y: number) => Color,
  breathe: Breather
): Promise<Field> {
  const columns = Math.max(2, Math.ceil(size.width / size.step) + 1)
  const rows = Math.max(2, Math.ceil(size.height / size.step) + 1)
  const values = new Float32Array(columns * rows * 3)
  const aspect = size.width / size.height
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const color = colorAt((column / (columns - 1)) * aspect, row / (rows - 1))
      values.set(color, (row * columns + column) * 3)
    }
    await breathe()
  }
  return { columns, rows, values }
}

/** Writes the field's colours of one picture row into `line` (three floats per pixel). */
export function readRow(field: Field, line: Float32Array, width: number, v: number): void {
  const y = Math.min(field.rows - 1.001, Math.max(0, v * (field.rows - 1)))
  const row = Math.floor(y)
  const down = y - row
  const top = row * field.columns * 3
  const bottom = top + field.columns * 3
  const scale = (field.columns - 1.001) / Math.max(1, width - 1)
  for (let pixel = 0; pixel < width; pixel++) {
    const x = pixel * scale
    const column = Math.floor(x)
    const across = x - column
    for (let channel = 0; channel < 3; channel++) {
      const at = column * 3 + channel
      const upper = field.values[top + at]! * (1 - across) + field.values[top + at + 3]! * across
      const lower = field.values[bottom + at]! * (1 - across) + field.values[bottom + at + 3]! * across
      line[pixel * 3 + channel] = upper * (1 - down) + lower * down
    }
  }
}

const ditherCells = [0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5].map(value => (value + 0.5) / 16)

/** Converts one row of light to 8-bit samples: bright light rolls off softly and an ordered dither hides banding. */
export function developRow(line: Float32Array, pixels: Uint8Array, y: number, width: number): void {
  const start = y * width * 3
  for (let pixel = 0; pixel < width; pixel++) {
    const dither = ditherCells[(y & 3) * 4 + (pixel & 3)]!
    for (let channel = 0; channel < 3; channel++) {
      const light = line[pixel * 3 + channel]!
      const soft = light < 0.8 ? light : 0.8 + 0.2 * (1 - Math.exp((0.8 - light) * 5))
      pixels[start + pixel * 3 + channel] = Math.min(255, Math.max(0, soft * 255 + dither - 0.5))
    }
  }
}

/** Blends a colour over a pixel of a row. */
export function over(line: Float32Array, pixel: number, color: Color, alpha: number): void {
  const at = pixel * 3
  line[at] = line[at]! + (color[0] - line[at]!) * alpha
  line[at + 1] = line[at + 1]! + (color[1] - line[at + 1]!) * alpha
  line[at + 2] = line[at + 2]! + (color[2] - line[at + 2]!) * alpha
}

/** Adds light to a pixel of a row. */
export function shine(line: Float32Array, pixel: number, color: Color, strength: number): void {
  const at = pixel * 3
  line[at] = line[at]! + color[0] * strength
  line[at + 1] = line[at + 1]! + color[1] * strength
  line[at + 2] = line[at + 2]! + color[2] * strength
}
