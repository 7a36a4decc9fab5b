import { isObject, type Json, type JsonObject } from '../json/python-json.ts'
import { PythonError, toFloat, toInt } from '../json/python-numbers.ts'
import { isTruthy, pythonRepr, pythonStr } from '../json/python-text.ts'
import type { InputSpec } from '../nodes/class-table.ts'
import { inputError, type ValidationError } from './validation-error.ts'

const longList = 20

/** Casts a literal input in place and checks it against its bounds and options. Returns the reason to refuse it. */
export function checkLiteral(spec: InputSpec, inputs: JsonObject, isTakenOver: boolean): ValidationError | undefined {
  const given = inputs[spec.name] as Json
  const value = isObject(given) && Object.hasOwn(given, '__value__') ? (given.__value__ as Json) : given
  inputs[spec.name] = value
  try {
    inputs[spec.name] = cast(spec.type, value)
  } catch (error) {
    if (!(error instanceof PythonError)) throw error
    const message = `Failed to convert an input value to a ${pythonStr(spec.type)} value`
    const details = `${spec.name}, ${pythonStr(value)}, ${error.message}`
    const extra = { received_value: value, exception_message: error.message }
    return inputError('invalid_input_type', message, spec, details, extra)
  }
  return isTakenOver ? undefined : checkBounds(spec, inputs[spec.name] as Json)
}

function cast(type: string | Json[], value: Json): Json {
  if (type === 'INT') return toInt(value)
  if (type === 'FLOAT') return toFloat(value)
  if (type === 'STRING') return pythonStr(value)
  return type === 'BOOLEAN' ? isTruthy(value) : value
}

function checkBounds(spec: InputSpec, value: Json): ValidationError | undefined {
  const { min, max } = spec.options
  if (min !== undefined && Number(value) < Number(min)) {
    const message = `Value ${pythonStr(value)} smaller than min of ${pythonStr(min)}`
    return inputError('value_smaller_than_min', message, spec, spec.name, { received_value: value })
  }
  if (max !== undefined && Number(value) > Number(max)) {
    const message = `Value ${pythonStr(value)} bigger than max of ${pythonStr(max)}`
    return inputError('value_bigger_than_max', message, spec, spec.name, { received_value: value })
  }
  return Array.isArray(spec.type) ? checkOption(spec, spec.type, value) : undefined
}

function checkOption(spec: InputSpec, options: Json[], value: Json): ValidationError | undefined {
  if (options.some(option => option === value || String(option) === String(value))) return undefined
  const isLong = options.length > longList
  const list = isLong ? `(list of length ${options.length})` : pythonRepr(options)
  const shown = isLong ? { ...spec, config: null } : spec
  const details = `${spec.name}: '${pythonStr(value)}' not in ${list}`
  return inputError('value_not_in_list', 'Value not in list', shown, details, { received_value: value })
}
