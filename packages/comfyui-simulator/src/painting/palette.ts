import { type Color, hex, turned } from './color.ts'
import { between, pick, type Random } from './random.ts'

/** The colours of a picture, from the highest part of the sky to the nearest ground. */
export interface Palette {
  zenith: Color
  sky: Color
  horizon: Color
  light: Color
  accent: Color
  far: Color
  near: Color
  isNight: boolean
}

type Row = [words: string, ...colors: [string, string, string, string, string, string, string]]

const rows: Row[] = [
  ['sunset dusk autumn warm fire', '#2b1b4d', '#8a3b6b', '#f6a15b', '#ffe2a8', '#ff6f61', '#a8506a', '#1b1030'],
  ['dawn morning spring pink soft', '#5a7fbf', '#c3b1dd', '#ffd9c0', '#fff4e0', '#ff9fb2', '#9a9cc9', '#2a3557'],
  ['aurora north winter arctic ice snow', '#050b24', '#0d2b4e', '#1f6f78', '#c9fff0', '#5dffb0', '#17435c', '#040a18'],
  ['ocean sea water blue calm', '#0b2b5c', '#2f7fb8', '#bfe6ea', '#fdfbe8', '#35c3c1', '#4a8fb0', '#08243d'],
  ['forest green jungle moss garden', '#173a3a', '#5f9e86', '#e6ecb8', '#fffbd6', '#a6d96a', '#5c8f74', '#0d221c'],
  ['night moon stars cosmos galaxy space', '#03040f', '#121a45', '#3a3f86', '#eef0ff', '#8f7bff', '#232a62', '#03040c'],
  ['desert sand gold dune', '#3e6a99', '#d9b48b', '#ffe6b0', '#fffbe6', '#e8843c', '#d08a55', '#5a2b1d'],
  ['neon city cyber synthwave future', '#14002e', '#4b0f6b', '#ff4f9a', '#ffd36e', '#23e0ff', '#5a1f83', '#0a0018'],
  ['storm rain grey cloud dramatic', '#1b2431', '#49596b', '#b9c2c4', '#f5f1e2', '#e0a458', '#5f6e7c', '#10151d'],
  [
    'lavender violet purple dream fantasy magic',
    '#241a52',
    '#6b54b8',
    '#e7b8ff',
    '#fff0fb',
    '#7fe3ff',
    '#7a66c2',
    '#150f33'
  ],
  ['cherry flower rose blossom portrait', '#3b2a5a', '#c9789a', '#ffd7d0', '#fff6ee', '#ff7f8f', '#b0708f', '#2a1531'],
  ['teal copper vintage photo film', '#12343b', '#3f7d7a', '#e9c89b', '#fff1d6', '#d9743f', '#56827c', '#0b1f22']
]

/** A palette whose name words occur in the text, else any one, with its hue turned a little. */
export function choosePalette(text: string, random: Random): Palette {
  const words = new Set(text.toLowerCase().split(/[^a-z]+/))
  const fitting = rows.filter(row => row[0].split(' ').some(word => words.has(word)))
  const row = pick(random, fitting.length > 0 ? fitting : rows)
  const angle = between(random, -0.16, 0.16)
  const [zenith, sky, horizon, light, accent, far, near] = row.slice(1).map(text => turned(hex(text), angle)) as [
    Color,
    Color,
    Color,
    Color,
    Color,
    Color,
    Color
  ]
  const isNight = zenith[0] + zenith[1] + zenith[2] < 0.45
  return { zenith, sky, horizon, light, accent, far, near, isNight }
}
