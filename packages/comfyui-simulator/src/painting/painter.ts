import { createBreather } from '../media/breather.ts'
import { paintMountains } from './mountains.ts'
import { createNoise } from './noise.ts'
import { choosePalette } from './palette.ts'
import { paintPlanets } from './planets.ts'
import { pick, type Random, randomFrom } from './random.ts'
import type { Scene } from './scene.ts'
import { paintWaves } from './waves.ts'

/** What decides a picture: the same values always give the same pixels. */
export interface PaintRequest {
  prompt: string
  seed: string
  model: string
  width: number
  height: number
}

const scenes: [Scene, RegExp][] = [
  [paintPlanets, /\b(planets?|space|cosmos|galaxy|nebula|astronaut|sci-?fi|orbs?|moons?)\b/i],
  [paintWaves, /\b(abstract|waves?|silk|pattern|paper|fabric|minimal|logo|portrait|woman|man|face|girl|boy)\b/i],
  [paintMountains, /\b(mountains?|landscape|lake|forest|valley|aurora|snow|sunset|sunrise|nature|fjord|trees?)\b/i]
]

/** Paints the picture of a prompt as RGB samples, letting the event loop run every few milliseconds. */
export async function paint(request: PaintRequest): Promise<Uint8Array> {
  const mood = randomFrom(`palette ${request.prompt} ${request.model}`)
  const random = randomFrom(`composition ${request.seed} ${request.prompt}`)
  return chooseScene(
    request.prompt,
    mood
  )({
    width: request.width,
    height: request.height,
    palette: choosePalette(request.prompt, mood),
    random,
    noise: createNoise(random),
    breathe: createBreather()
  })
}

function chooseScene(prompt: string, random: Random): Scene {
  const roll = pick(random, scenes)
  const fitting = scenes.find(([, words]) => words.test(prompt))
  return (fitting ?? roll)[0]
}
