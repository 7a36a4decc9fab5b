import type { Json } from '../json/python-json.ts'
import { pythonStr, pythonTypeName } from '../json/python-text.ts'
import { type ImageBatch, isImage, isMask, type MaskBatch } from '../media/image-batch.ts'
import { NodeError, type NodeInputs } from './node-class.ts'

/** A number input as a JavaScript number; `fallback` when it is not given. */
export function numberInput(inputs: NodeInputs, name: string, fallback = 0): number {
  const value = inputs[name]
  if (value === undefined || value === null) return fallback
  const number = Number(value)
  return Number.isNaN(number) ? fallback : number
}

/** A text input; other values in Python's spelling. */
export function textInput(inputs: NodeInputs, name: string, fallback = ''): string {
  const value = inputs[name]
  if (value === undefined || value === null) return fallback
  return typeof value === 'object' && !isJsonLike(value) ? fallback : pythonStr(value as Json)
}

/** A picture input. Throws the AttributeError a Python node would raise for anything else. */
export function imageInput(inputs: NodeInputs, name: string): ImageBatch {
  const value = inputs[name]
  if (isImage(value)) return value
  throw wrongType(value, 'shape')
}

/** A mask input. Throws the AttributeError a Python node would raise for anything else. */
export function maskInput(inputs: NodeInputs, name: string): MaskBatch {
  const value = inputs[name]
  if (isMask(value)) return value
  throw wrongType(value, 'reshape')
}

function wrongType(value: unknown, attribute: string): NodeError {
  const isTyped = typeof value === 'object' && value !== null && 'type' in value
  const name = isTyped ? String((value as { type: unknown }).type) : pythonTypeName((value ?? null) as Json)
  return new NodeError('AttributeError', `'${name}' object has no attribute '${attribute}'`)
}

function isJsonLike(value: object): boolean {
  return !('type' in value)
}
