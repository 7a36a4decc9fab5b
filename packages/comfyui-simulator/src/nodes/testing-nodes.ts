import { ExecutionBlocker } from '../graph/execution-blocker.ts'
import { PythonFloat } from '../json/python-float.ts'
import type { Json, JsonObject } from '../json/python-json.ts'
import { toFloat } from '../json/python-numbers.ts'
import { pythonStr, pythonTypeName } from '../json/python-text.ts'
import { blendFrames } from '../media/filters.ts'
import { type ImageBatch, solidImage, solidMask } from '../media/image-batch.ts'
import { composite } from '../media/layout.ts'
import { resizeImage } from '../media/resample.ts'
import { imageInput, maskInput, numberInput, textInput } from './inputs.ts'
import {
  AddedOutput,
  type NodeCall,
  type NodeClass,
  NodeError,
  type NodeInputs,
  type NodeLibrary,
  type NodeOutcome
} from './node-class.ts'
import { jpegOf } from './sampling-nodes.ts'
import { isOn } from './text-nodes.ts'

const progressEverySeconds = 0.01
const previewSide = 512

/** The nodes of ComfyUI's own execution tests that the recordings use. */
export const testingNodes: NodeLibrary = {
  StubImage: {
    execute: (inputs, call) => {
      const [width, height] = [numberInput(inputs, 'width', 512), numberInput(inputs, 'height', 512)]
      const count = numberInput(inputs, 'batch_size', 1)
      const content = textInput(inputs, 'content')
      if (content !== 'NOISE')
        return { outputs: [solidImage(width, height, count, content === 'WHITE' ? 0xffffff : 0)] }
      const frame = Uint8Array.from({ length: width * height * 3 }, () => call.machine.random() * 256)
      return { outputs: [{ ...solidImage(1, 1, 1, 0), width, height, frames: Array(count).fill(frame) }] }
    }
  },
  StubMask: {
    execute: inputs => {
      const [width, height] = [numberInput(inputs, 'width', 512), numberInput(inputs, 'height', 512)]
      return { outputs: [solidMask(width, height, numberInput(inputs, 'batch_size', 1), numberInput(inputs, 'value'))] }
    }
  },
  StubInt: { execute: inputs => ({ outputs: [inputs.value] }) },
  StubFloat: { execute: inputs => ({ outputs: [inputs.value] }) },
  TestSleep: { isAsync: true, execute: sleepWithProgress },
  TestSyncError: { execute: () => raise('Intentional sync execution error for testing') },
  TestAsyncError: {
    isAsync: true,
    execute: async (inputs, call) => {
      await call.work(numberInput(inputs, 'error_after') * call.machine.speed)
      return raise('Intentional async execution error for testing')
    }
  },
  TestAsyncTimeout: { isAsync: true, execute: operate },
  TestSyncProgressUpdate: { execute: () => failAsRecorded() },
  TestAsyncProgressUpdate: { isAsync: true, execute: async () => failAsRecorded() },
  TestLazyMixImages: {
    execute: mixByMask,
    neededInputs: inputs => {
      const values = maskInput(inputs, 'mask').frames[0] ?? new Uint8Array()
      const [least, most] = [values.reduce((a, b) => Math.min(a, b), 255), values.reduce((a, b) => Math.max(a, b), 0)]
      return [...(least < 255 ? ['image1'] : []), ...(most > 0 ? ['image2'] : [])]
    }
  },
  TestMixedExpansionReturns: { execute: expandMix },
  TestDynamicDependencyCycle: { execute: expandCycle },
  TestExecutionBlocker: {
    execute: inputs => {
      if (!isOn(inputs.block)) return { outputs: [inputs.input] }
      return { outputs: [new ExecutionBlocker(isOn(inputs.verbose) ? 'Blocked Execution' : undefined)] }
    }
  },
  TestCustomValidation1: {
    execute: inputs => ({ outputs: [inputs.input1] }),
    validation: {
      inputs: ['input1', 'input2'],
      check: inputs => {
        const wrong = typeof inputs.input1 === 'string' ? inputs.input1 : undefined
        return wrong === undefined || `Invalid type of input1: <class '${pythonTypeName(wrong)}'>`
      }
    }
  },
  TestAsyncValidation: validatesMaximum(),
  TestAsyncValidationError: validatesMaximum(),
  TestOutputNodeWithSocketOutput: { execute: inputs => ({ outputs: [imageInput(inputs, 'image')] }) },
  RecPreviewSteps: { execute: previewSteps }
}

function raise(message: string): never {
  throw new NodeError('RuntimeError', message)
}

/** Both progress nodes fail on 0.3.64 with an error of their own. */
function failAsRecorded(): never {
  throw new NodeError('AttributeError', "'ComfyAPISync' object has no attribute 'execution'")
}

async function sleepWithProgress(inputs: NodeInputs, call: NodeCall): Promise<NodeOutcome> {
  const seconds = numberInput(inputs, 'seconds', 1)
  const { clock } = call.machine
  const start = clock.now()
  for (;;) {
    const elapsed = Math.min(seconds, clock.now() - start)
    call.progress(new PythonFloat(elapsed), toFloat(inputs.seconds as Json))
    await call.work(progressEverySeconds * call.machine.speed)
    if (elapsed >= seconds) return { outputs: [inputs.value] }
  }
}

async function operate(inputs: NodeInputs, call: NodeCall): Promise<NodeOutcome> {
  const timeout = numberInput(inputs, 'timeout', 1)
  const duration = numberInput(inputs, 'operation_time', 2)
  await call.work(Math.min(timeout, duration) * call.machine.speed)
  if (duration > timeout) return raise(`Operation timed out after ${pythonStr(inputs.timeout as Json)} seconds`)
  return { outputs: [inputs.value] }
}

function mixByMask(inputs: NodeInputs): NodeOutcome {
  const mask = maskInput(inputs, 'mask')
  if (!('image1' in inputs)) return { outputs: [imageInput(inputs, 'image2')] }
  const first = imageInput(inputs, 'image1')
  if (!('image2' in inputs)) return { outputs: [first] }
  const second = imageInput(inputs, 'image2')
  const isEven = mask.frames[0]?.every(value => value === mask.frames[0]?.[0])
  if (!isEven) return { outputs: [composite(first, second, mask, 0, 0)] }
  const weight = (mask.frames[0]?.[0] ?? 0) / 255
  const frames = first.frames.map((frame, at) => blendFrames(frame, second.frames[at] as Uint8Array, weight, 'normal'))
  return { outputs: [{ ...first, frames } satisfies ImageBatch] }
}

const stubSize = { height: 512, width: 512, batch_size: 1 }

function expandMix(inputs: NodeInputs, call: NodeCall): NodeOutcome {
  const value = numberInput(inputs, 'input1')
  const white = solidImage(512, 512, 1, 0xffffff)
  if (value <= 0.2) return { outputs: [solidImage(512, 512, 1, Math.round(value * 255) * 0x10101), white] }
  const id = (index: number) => `${call.nodeId}.0.0.${index}`
  const expand: Record<string, { class_type: string; inputs: JsonObject }> = {
    [id(1)]: { class_type: 'StubMask', inputs: { value: new PythonFloat(0.3), ...stubSize } },
    [id(2)]: { class_type: 'StubImage', inputs: { content: 'BLACK', ...stubSize } },
    [id(3)]: { class_type: 'StubImage', inputs: { content: 'WHITE', ...stubSize } },
    [id(4)]: {
      class_type: 'TestLazyMixImages',
      inputs: { image1: [id(2), 0], image2: [id(3), 0], mask: [id(1), 0] }
    }
  }
  return { outputs: [new AddedOutput([id(4), 0]), white], expand }
}

function expandCycle(_inputs: NodeInputs, call: NodeCall): NodeOutcome {
  const id = (index: number) => `${call.nodeId}.0.0.${index}`
  const own = call.prompt[call.nodeId] as JsonObject
  const { input1 = null, input2 = null } = own.inputs as JsonObject
  const expand: Record<string, { class_type: string; inputs: JsonObject }> = {
    [id(1)]: { class_type: 'StubMask', inputs: { value: new PythonFloat(0.5), ...stubSize } },
    [id(2)]: { class_type: 'TestLazyMixImages', inputs: { image1: input1, mask: [id(1), 0], image2: [id(3), 0] } },
    [id(3)]: { class_type: 'TestLazyMixImages', inputs: { image1: [id(2), 0], mask: [id(1), 0], image2: input2 } }
  }
  return { outputs: [new AddedOutput([id(3), 0])], expand }
}

function validatesMaximum(): NodeClass {
  return {
    execute: inputs => ({ outputs: [solidImage(512, 512, 1, numberInput(inputs, 'value') > 0 ? 0xffffff : 0)] }),
    validation: {
      inputs: ['value', 'max_value'],
      check: inputs => {
        const isOver = numberInput(inputs, 'value') > numberInput(inputs, 'max_value', 10)
        const [value, limit] = [pythonStr(inputs.value as Json), pythonStr((inputs.max_value ?? 10) as Json)]
        return !isOver || `Async validation failed: ${value} > ${limit}`
      }
    }
  }
}

async function previewSteps(inputs: NodeInputs, call: NodeCall): Promise<NodeOutcome> {
  const image = imageInput(inputs, 'image')
  const steps = numberInput(inputs, 'steps', 4)
  const scale = previewSide / Math.max(image.width, image.height)
  const [width, height] = [Math.round(image.width * scale), Math.round(image.height * scale)]
  const preview = await jpegOf(await resizeImage(image, width, height, 'lanczos'), 95)
  for (let step = 1; step <= steps; step++) {
    await call.work(numberInput(inputs, 'delay', 0.05) * call.machine.speed)
    call.progress(step, steps, preview)
  }
  return { outputs: [image] }
}
