/** Red, green and blue, each 0 to 1 (light may go beyond). */
export type Color = readonly [number, number, number]

/** A colour from `#rrggbb`. */
export function hex(text: string): Color {
  const value = Number.parseInt(text.slice(1), 16)
  return [((value >> 16) & 255) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255]
}

/** A colour between two; `t` 0 is the first. */
export function mix(a: Color, b: Color, t: number): Color {
  return [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t]
}

/** A colour made brighter or darker. */
export function scaled(color: Color, factor: number): Color {
  return [color[0] * factor, color[1] * factor, color[2] * factor]
}

/** A step that rises smoothly from 0 at `low` to 1 at `high`. */
export function smooth(low: number, high: number, value: number): number {
  const t = Math.min(1, Math.max(0, (value - low) / (high - low)))
  return t * t * (3 - 2 * t)
}

/** Turns the hue of a colour by an angle in radians, its brightness kept. */
export function turned(color: Color, angle: number): Color {
  const cos = Math.cos(angle)
  const sin = Math.sin(angle)
  const third = (1 - cos) / 3
  const side = sin / Math.sqrt(3)
  const [r, g, b] = color
  return [
    Math.max(0, r * (cos + third) + g * (third - side) + b * (third + side)),
    Math.max(0, r * (third + side) + g * (cos + third) + b * (third - side)),
    Math.max(0, r * (third - side) + g * (third + side) + b * (cos + third))
  ]
}
