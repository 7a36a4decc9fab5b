import { createHash } from 'node:crypto'
import { PythonFloat } from '../json/python-float.ts'
import { stringifyPythonJson } from '../json/python-json.ts'
import { solidMask } from '../media/image-batch.ts'
import { paint } from '../painting/painter.ts'
import { modelFilePattern } from './model-file.ts'
import { loadFiles } from './model-loaders.ts'
import type { NodeCall, NodeClass, NodeInputs } from './node-class.ts'
import { isType } from './values.ts'

const pictureSide = 512

/** A node that gives each output the input of the same type, and a stand-in where there is none. */
export const passThrough: NodeClass = {
  execute: async (inputs, call) => {
    const files = modelFilesOf(inputs)
    if (files.length > 0) await loadFiles(files, call)
    const used = new Map<string, number>()
    const outputs: unknown[] = []
    for (const type of call.outputTypes) {
      const nth = used.get(type) ?? 0
      used.set(type, nth + 1)
      outputs.push(sameTyped(inputs, type, nth) ?? (await standIn(type, inputs, files, call)))
    }
    return { outputs }
  }
}

/** The values of text inputs that name model files. */
export function modelFilesOf(inputs: NodeInputs): string[] {
  return Object.values(inputs).filter(value => typeof value === 'string' && modelFilePattern.test(value)) as string[]
}

function sameTyped(inputs: NodeInputs, type: string, nth: number): unknown {
  const values = Object.values(inputs).filter(value => value !== undefined && value !== null)
  if (type === '*') return values.find(value => typeof value === 'object' && 'type' in (value as object)) ?? values[0]
  const same = values.filter(value => isType(value, type))
  return same[nth] ?? same[0]
}

async function standIn(type: string, inputs: NodeInputs, files: string[], call: NodeCall): Promise<unknown> {
  if (type === 'IMAGE') return picture(inputs, call)
  if (type === 'MASK') return solidMask(pictureSide, pictureSide, 1, 0.5)
  if (type === 'LATENT') return { type, width: pictureSide, height: pictureSide, count: 1 }
  if (type === 'INT') return numberAmong(inputs) ?? 0
  if (type === 'FLOAT') return new PythonFloat(Number(numberAmong(inputs) ?? 0))
  if (type === 'BOOLEAN') return false
  if (type === 'STRING' || type === 'COMBO') return Object.values(inputs).find(value => typeof value === 'string') ?? ''
  if (type === 'CONDITIONING') return { type, text: textAmong(inputs), files: [] }
  if (type === 'AUDIO') return { type, seconds: 2, sampleRate: 44_100, channels: 2 }
  if (type === 'SIGMAS') return { type, steps: Number(inputs.steps ?? 20), denoise: 1 }
  if (type === 'NOISE') return { type, seed: String(inputs.seed ?? inputs.noise_seed ?? 0) }
  if (type === 'VIDEO') return { type, fps: 8, images: await picture(inputs, call) }
  return { type, files, name: files[0] ?? call.classType }
}

async function picture(inputs: NodeInputs, call: NodeCall): Promise<unknown> {
  const seed = createHash('sha1')
    .update(call.classType + stringifyPythonJson(plainInputs(inputs)))
    .digest('hex')
  const size = { width: pictureSide, height: pictureSide }
  const pixels = await paint({ prompt: textAmong(inputs) || call.classType, seed, model: call.classType, ...size })
  return { type: 'IMAGE', ...size, channels: 3, frames: [pixels] }
}

function plainInputs(inputs: NodeInputs): NodeInputs {
  return Object.fromEntries(Object.entries(inputs).filter(([, value]) => typeof value !== 'object'))
}

function numberAmong(inputs: NodeInputs): unknown {
  return Object.values(inputs).find(value => typeof value === 'number' || value instanceof PythonFloat)
}

function textAmong(inputs: NodeInputs): string {
  const texts = Object.values(inputs).filter(value => typeof value === 'string' && !modelFilePattern.test(value))
  return (texts as string[]).reduce((longest, text) => (text.length > longest.length ? text : longest), '')
}
