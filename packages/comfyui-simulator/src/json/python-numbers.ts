import { PythonFloat } from './python-float.ts'
import type { Json } from './python-json.ts'
import { pythonRepr, pythonTypeName } from './python-text.ts'

/** A Python exception by its type and text, as validation reports it. */
export class PythonError extends Error {
  readonly type: string

  constructor(type: string, message: string) {
    super(message)
    this.type = type
  }
}

/** Python's `int(value)`. Throws the ValueError, TypeError or OverflowError Python would raise. */
export function toInt(value: Json): number | bigint {
  if (typeof value === 'number' || typeof value === 'bigint') return value
  if (typeof value === 'boolean') return value ? 1 : 0
  if (value instanceof PythonFloat) return truncated(value.value)
  if (typeof value === 'string') return parsedInt(value)
  const needed = "a string, a bytes-like object or a real number, not '"
  throw new PythonError('TypeError', `int() argument must be ${needed}${pythonTypeName(value)}'`)
}

/** Python's `float(value)`. Throws the ValueError or TypeError Python would raise. */
export function toFloat(value: Json): PythonFloat {
  if (value instanceof PythonFloat) return value
  if (typeof value === 'number' || typeof value === 'bigint') return new PythonFloat(Number(value))
  if (typeof value === 'boolean') return new PythonFloat(value ? 1 : 0)
  if (typeof value === 'string') return parsedFloat(value)
  throw new PythonError(
    'TypeError',
    `float() argument must be a string or a real number, not '${pythonTypeName(value)}'`
  )
}

function truncated(value: number): number | bigint {
  if (Number.isNaN(value)) throw new PythonError('ValueError', 'cannot convert float NaN to integer')
  if (!Number.isFinite(value)) throw new PythonError('OverflowError', 'cannot convert float infinity to integer')
  const whole = Math.trunc(value)
  return Number.isSafeInteger(whole) ? whole : BigInt(whole)
}

function parsedInt(text: string): number | bigint {
  if (!/^\s*[+-]?\d+(_\d+)*\s*$/.test(text)) {
    throw new PythonError('ValueError', `invalid literal for int() with base 10: ${pythonRepr(text)}`)
  }
  const digits = text.trim().replaceAll('_', '').replace(/^\+/, '')
  const whole = Number(digits)
  return Number.isSafeInteger(whole) ? whole : BigInt(digits)
}

function parsedFloat(text: string): PythonFloat {
  const word = text.trim().toLowerCase()
  const sign = word.startsWith('-') ? -1 : 1
  const bare = word.replace(/^[+-]/, '')
  if (bare === 'nan') return new PythonFloat(Number.NaN)
  if (bare === 'inf' || bare === 'infinity') return new PythonFloat(sign * Number.POSITIVE_INFINITY)
  if (!/^(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/.test(bare)) {
    throw new PythonError('ValueError', `could not convert string to float: ${pythonRepr(text)}`)
  }
  return new PythonFloat(sign * Number(bare))
}
