import { type ImageBatch, type MaskBatch, solidMask } from '../media/image-batch.ts'
import { imageInput, maskInput, numberInput, textInput } from './inputs.ts'
import type { NodeInputs, NodeLibrary, NodeOutcome } from './node-class.ts'

/** Mask nodes. */
export const maskNodes: NodeLibrary = {
  SolidMask: {
    execute: inputs => {
      const [width, height] = [numberInput(inputs, 'width', 512), numberInput(inputs, 'height', 512)]
      return { outputs: [solidMask(width, height, 1, numberInput(inputs, 'value', 1))] }
    }
  },
  MaskToImage: { execute: inputs => ({ outputs: [maskToImage(maskInput(inputs, 'mask'))] }) },
  ImageToMask: {
    execute: inputs => {
      const channel = ['red', 'green', 'blue', 'alpha'].indexOf(textInput(inputs, 'channel', 'red'))
      return { outputs: [channelMask(imageInput(inputs, 'image'), channel)] }
    }
  },
  InvertMask: { execute: inputs => mapped(maskInput(inputs, 'mask'), value => 255 - value) },
  ThresholdMask: {
    execute: inputs => {
      const limit = numberInput(inputs, 'value', 0.5) * 255
      return mapped(maskInput(inputs, 'mask'), value => (value > limit ? 255 : 0))
    }
  },
  MaskComposite: { execute: compositeMasks }
}

/** A grey picture of a mask. */
export function maskToImage(mask: MaskBatch): ImageBatch {
  const frames = mask.frames.map(frame => {
    const out = new Uint8Array(frame.length * 3)
    for (let at = 0; at < frame.length; at++) out.fill(frame[at]!, at * 3, at * 3 + 3)
    return out
  })
  return { type: 'IMAGE', width: mask.width, height: mask.height, channels: 3, frames }
}

/** One channel of a picture as a mask; a channel it lacks counts as full. */
export function channelMask(image: ImageBatch, channel: number): MaskBatch {
  const frames = image.frames.map(frame =>
    Uint8Array.from({ length: image.width * image.height }, (_, at) =>
      channel < image.channels ? frame[at * image.channels + channel]! : 255
    )
  )
  return { type: 'MASK', width: image.width, height: image.height, frames }
}

function mapped(mask: MaskBatch, change: (value: number) => number): NodeOutcome {
  return { outputs: [{ ...mask, frames: mask.frames.map(frame => frame.map(change)) }] }
}

const operations: Record<string, (a: number, b: number) => number> = {
  multiply: (a, b) => (a * b) / 255,
  add: (a, b) => a + b,
  subtract: (a, b) => a - b,
  and: (a, b) => (a > 127 && b > 127 ? 255 : 0),
  or: (a, b) => (a > 127 || b > 127 ? 255 : 0),
  xor: (a, b) => (a > 127 !== b > 127 ? 255 : 0)
}

function compositeMasks(inputs: NodeInputs): NodeOutcome {
  const destination = maskInput(inputs, 'destination')
  const source = maskInput(inputs, 'source')
  const [left, top] = [numberInput(inputs, 'x'), numberInput(inputs, 'y')]
  const combine = operations[textInput(inputs, 'operation', 'add')] ?? ((_: number, b: number) => b)
  const frames = destination.frames.map((frame, index) => {
    const other = source.frames[Math.min(index, source.frames.length - 1)] as Uint8Array
    const out = Uint8Array.from(frame)
    for (let y = 0; y < Math.min(source.height, destination.height - top); y++) {
      for (let x = 0; x < Math.min(source.width, destination.width - left); x++) {
        const at = (y + top) * destination.width + x + left
        out[at] = Math.min(255, Math.max(0, combine(frame[at]!, other[y * source.width + x]!)))
      }
    }
    return out
  })
  return { outputs: [{ ...destination, frames }] }
}
