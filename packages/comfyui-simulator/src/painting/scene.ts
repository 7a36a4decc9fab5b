import type { Breather } from '../media/breather.ts'
import type { Noise } from './noise.ts'
import type { Palette } from './palette.ts'
import type { Random } from './random.ts'

/** What every scene paints from. */
export interface SceneRequest {
  width: number
  height: number
  palette: Palette
  random: Random
  noise: Noise
  breathe: Breather
}

/** Paints one picture and returns its RGB samples. */
export type Scene = (request: SceneRequest) => Promise<Uint8Array>
