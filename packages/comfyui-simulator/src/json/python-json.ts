import { PythonFloat } from './python-float.ts'

/** Any value Python's `json.loads` can produce: whole numbers beyond 2^53 are bigint, numbers with a point are `PythonFloat`. */
export type Json = null | boolean | number | bigint | string | PythonFloat | Json[] | JsonObject

/** A JSON object. Keys that look like integers come first in ascending order, as in every JavaScript object. */
export interface JsonObject {
  [key: string]: Json
}

/** Whether a value is a JSON object (neither list, number nor null). */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof PythonFloat)
}

const tokens =
  /[\s]*(?:([{}[\],:])|("[^"\\]*(?:\\.[^"\\]*)*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.]))|(true|false|null|NaN|-?Infinity))/y

/** Parses JSON as Python does: NaN and Infinity are values, floats stay floats. Throws SyntaxError on anything else. */
export function parsePythonJson(text: string): Json {
  const reader = new Reader(text)
  const value = reader.value(reader.next(), 0)
  if (reader.rest().trim() !== '') throw new SyntaxError('Extra data')
  return value
}

/** Writes JSON as Python's `json.dumps` does: `", "` and `": "` between, non-ASCII escaped, NaN spelled out. Maps are objects. */
export function stringifyPythonJson(value: unknown): string {
  if (value === null || value === undefined) return 'null'
  if (typeof value === 'string') return quote(value)
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : new PythonFloat(value).toString()
  if (typeof value === 'boolean' || typeof value === 'bigint') return String(value)
  if (value instanceof PythonFloat) return value.toString()
  if (Array.isArray(value)) return `[${value.map(stringifyPythonJson).join(', ')}]`
  const entries = value instanceof Map ? [...value] : Object.entries(value as object)
  const members = entries.filter(([, member]) => member !== undefined)
  return `{${members.map(([key, member]) => `${quote(String(key))}: ${stringifyPythonJson(member)}`).join(', ')}}`
}

function quote(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, character =>
    character === '\u007f' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  )
}

const maxDepth = 900

class Reader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  rest(): string {
    return this.#text.slice(this.#at)
  }

  next(): string {
    tokens.lastIndex = this.#at
    const match = tokens.exec(this.#text)
    if (!match) throw new SyntaxError(`Expecting value: char ${this.#at}`)
    this.#at = tokens.lastIndex
    return (match[1] ?? match[2] ?? match[3] ?? match[4]) as string
  }

  value(token: string, depth: number): Json {
    if (depth > maxDepth) throw new SyntaxError('maximum recursion depth exceeded')
    if (token === '{') return this.#object(depth)
    if (token === '[') return this.#list(depth)
    if (token[0] === '"') return JSON.parse(token) as string
    return scalar(token)
  }

  #object(depth: number): JsonObject {
    const object: JsonObject = {}
    let token = this.next()
    if (token === '}') return object
    for (;;) {
      if (token[0] !== '"' || this.next() !== ':') throw new SyntaxError('Expecting property name')
      define(object, JSON.parse(token) as string, this.value(this.next(), depth + 1))
      const separator = this.next()
      if (separator === '}') return object
      if (separator !== ',') throw new SyntaxError("Expecting ',' delimiter")
      token = this.next()
    }
  }

  #list(depth: number): Json[] {
    const list: Json[] = []
    let token = this.next()
    if (token === ']') return list
    for (;;) {
      list.push(this.value(token, depth + 1))
      const separator = this.next()
      if (separator === ']') return list
      if (separator !== ',') throw new SyntaxError("Expecting ',' delimiter")
      token = this.next()
    }
  }
}

function define(object: JsonObject, key: string, value: Json): void {
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true })
    return
  }
  object[key] = value
}

function scalar(token: string): Json {
  if (token === 'true') return true
  if (token === 'false') return false
  if (token === 'null') return null
  if (token === 'NaN' || token.endsWith('Infinity')) return new PythonFloat(Number(token))
  if (!/^-?\d/.test(token)) throw new SyntaxError('Expecting value')
  if (/[.eE]/.test(token)) return new PythonFloat(Number(token))
  const whole = Number(token)
  return Number.isSafeInteger(whole) ? whole : BigInt(token)
}
