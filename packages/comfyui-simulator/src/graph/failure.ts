import { PythonFloat } from '../json/python-float.ts'
import type { Json, JsonObject } from '../json/python-json.ts'
import { PythonError } from '../json/python-numbers.ts'
import { type ImageBatch, isImage, isMask } from '../media/image-batch.ts'
import { NodeError } from '../nodes/node-class.ts'
import type { InputLists } from './node-results.ts'

/** What ended a prompt before its end. */
export interface Failure {
  nodeId: string
  error: unknown
  inputs: InputLists
}

const outOfMemoryTips =
  'This error means you ran out of memory on your GPU.\n\n' +
  'TIPS: If the workflow worked before you might have accidentally set the batch_size to a large number.'

/** The exception fields of an `execution_error` message. */
export function exceptionFields(failure: Failure, classType: string): JsonObject {
  const { type, message } = pythonException(failure.error)
  const tips = type.endsWith('OutOfMemoryError') ? outOfMemoryTips : ''
  return {
    exception_message: `${message}\n${tips}`,
    exception_type: type,
    traceback: [
      '  File "execution.py", line 496, in execute\n    output_data, output_ui, has_subgraph, has_pending_tasks = await get_output_data(prompt_id, unique_id, obj, input_data_all)\n',
      `  File "nodes.py", in ${classType}\n    raise ${type}\n`
    ],
    current_inputs: formatInputs(failure.inputs)
  }
}

/** Whether an error is one of a full GPU, after which ComfyUI unloads every model. */
export function isOutOfMemory(error: unknown): boolean {
  return pythonException(error).type.endsWith('OutOfMemoryError')
}

function pythonException(error: unknown): { type: string; message: string } {
  if (error instanceof NodeError || error instanceof PythonError) return { type: error.type, message: error.message }
  return { type: 'Exception', message: error instanceof Error ? error.message : String(error) }
}

function formatInputs(inputs: InputLists): JsonObject {
  return Object.fromEntries(Object.entries(inputs).map(([name, values]) => [name, values.map(formatValue)]))
}

function formatValue(value: unknown): Json {
  if (value === null || value === undefined) return 'None'
  if (typeof value !== 'object' || value instanceof PythonFloat) return value as Json
  if (isImage(value)) return tensorText(value)
  if (isMask(value)) return `tensor([[[${sample(value.frames[0]?.[0])}, ...]]])`
  const type = (value as { type?: unknown }).type
  return typeof type === 'string' ? `<${type} object>` : '[object]'
}

function tensorText(image: ImageBatch): string {
  const pixel = [...(image.frames[0]?.subarray(0, image.channels) ?? [])].map(sample)
  return `tensor([[[[${pixel.join(', ')}],\n          ...]]])`
}

function sample(value: number | undefined): string {
  return ((value ?? 0) / 255).toFixed(4)
}
