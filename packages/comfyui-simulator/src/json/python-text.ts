import { floatRepr, PythonFloat } from './python-float.ts'
import { isObject, type Json } from './python-json.ts'

/** Python's `str(value)` of a JSON value: `None`, `True`, `9.0`, `{'a': 1}`. */
export function pythonStr(value: Json): string {
  return typeof value === 'string' ? value : pythonRepr(value)
}

/** Python's `repr(value)` of a JSON value: as `str`, but text is quoted. */
export function pythonRepr(value: Json): string {
  if (value === null) return 'None'
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (typeof value === 'string') return quoted(value)
  if (value instanceof PythonFloat) return spelled(value.value)
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : spelled(value)
  if (Array.isArray(value)) return `[${value.map(pythonRepr).join(', ')}]`
  if (!isObject(value)) return String(value)
  const members = Object.entries(value).map(([key, member]) => `${quoted(key)}: ${pythonRepr(member)}`)
  return `{${members.join(', ')}}`
}

/** Python's name of a JSON value's type, as `type(value).__name__` has it. */
export function pythonTypeName(value: Json): string {
  if (value === null) return 'NoneType'
  if (typeof value === 'string') return 'str'
  if (typeof value === 'boolean') return 'bool'
  if (value instanceof PythonFloat) return 'float'
  if (Array.isArray(value)) return 'list'
  return isObject(value) ? 'dict' : 'int'
}

/** Python's truth of a JSON value. */
export function isTruthy(value: Json | undefined): boolean {
  if (value === null || value === undefined) return false
  if (typeof value === 'boolean') return value
  if (typeof value === 'string') return value !== ''
  if (Array.isArray(value)) return value.length > 0
  if (isObject(value)) return Object.keys(value).length > 0
  return Number(value) !== 0
}

function spelled(value: number): string {
  if (Number.isNaN(value)) return 'nan'
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf'
  return floatRepr(value)
}

function quoted(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'"
  const escaped = text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r').replaceAll('\t', '\\t')
  return mark + (mark === "'" ? escaped.replaceAll("'", "\\'") : escaped) + mark
}
