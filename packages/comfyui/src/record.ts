/** A JSON object whose values nobody has checked yet. */
export type Unchecked = Record<string, unknown>

/** Whether a parsed JSON value is an object (not an array, not null). */
export const isRecord = (value: unknown): value is Unchecked =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The value as an object, or an empty one. */
export const recordOf = (value: unknown): Unchecked => (isRecord(value) ? value : {})

/** The value as a list, or an empty one. */
export const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])

/** The value as a finite number, or undefined. */
export const numberOf = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isFinite(value) ? value : undefined

/** The value as a string, or undefined. */
export const stringOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)
