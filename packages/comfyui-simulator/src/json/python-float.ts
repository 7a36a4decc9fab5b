/** A number that Python would hold as a float: it keeps its point (`9.0`), NaN and the infinities through JSON. */
export class PythonFloat {
  readonly value: number

  constructor(value: number) {
    this.value = value
  }

  valueOf(): number {
    return this.value
  }

  toString(): string {
    return floatRepr(this.value)
  }
}

/** Spells a number as Python's `repr(float)` and `json.dumps` do. */
export function floatRepr(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity'
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0'
  const magnitude = Math.abs(value)
  if (magnitude >= 1e16 || magnitude < 1e-4) return exponential(value)
  const text = magnitude >= 1e-6 ? String(value) : plainSmall(value)
  return text.includes('.') ? text : `${text}.0`
}

function exponential(value: number): string {
  const [mantissa, exponent] = value.toExponential().split('e') as [string, string]
  const digits = exponent.slice(1).padStart(2, '0')
  return `${mantissa}e${exponent[0]}${digits}`
}

function plainSmall(value: number): string {
  return value.toFixed(20).replace(/0+$/, '')
}
