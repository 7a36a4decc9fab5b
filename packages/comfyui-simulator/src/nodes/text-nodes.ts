import { PythonFloat } from '../json/python-float.ts'
import { type Json, stringifyPythonJson } from '../json/python-json.ts'
import { isTruthy, pythonStr } from '../json/python-text.ts'
import { numberInput, textInput } from './inputs.ts'
import type { NodeClass, NodeLibrary } from './node-class.ts'

const primitive: NodeClass = { execute: inputs => ({ outputs: [inputs.value] }) }

/** Numbers, texts and the node that shows them. */
export const textNodes: NodeLibrary = {
  PrimitiveString: primitive,
  PrimitiveStringMultiline: primitive,
  PrimitiveInt: primitive,
  PrimitiveFloat: primitive,
  PrimitiveBoolean: primitive,
  StringConcatenate: {
    execute: inputs => {
      const parts = [textInput(inputs, 'string_a'), textInput(inputs, 'string_b')]
      return { outputs: [parts.join(textInput(inputs, 'delimiter'))] }
    }
  },
  StringReplace: {
    execute: inputs => {
      const text = textInput(inputs, 'string')
      return { outputs: [text.replaceAll(textInput(inputs, 'find'), () => textInput(inputs, 'replace'))] }
    }
  },
  StringLength: { execute: inputs => ({ outputs: [[...textInput(inputs, 'string')].length] }) },
  StringTrim: {
    execute: inputs => {
      const text = textInput(inputs, 'string')
      const mode = textInput(inputs, 'mode', 'Both')
      if (mode === 'Left') return { outputs: [text.trimStart()] }
      return { outputs: [mode === 'Right' ? text.trimEnd() : text.trim()] }
    }
  },
  StringSubstring: {
    execute: inputs => ({
      outputs: [textInput(inputs, 'string').slice(numberInput(inputs, 'start'), numberInput(inputs, 'end'))]
    })
  },
  PreviewAny: { execute: inputs => ({ ui: { text: [shownText(inputs.source)] } }) }
}

/** A value as PreviewAny shows it: text as it is, numbers spelled, other things as JSON or by their kind. */
export function shownText(value: unknown): string {
  if (typeof value === 'string') return value
  if (value === undefined || value === null) return 'None'
  if (value instanceof PythonFloat || typeof value !== 'object') return pythonStr(value as Json)
  const type = (value as { type?: unknown }).type
  return typeof type === 'string' ? `<${type}>` : stringifyPythonJson(value)
}

/** Whether a switch input is on. */
export function isOn(value: unknown): boolean {
  return isTruthy(value as Json | undefined)
}
