import type { ProblemPlace } from '@comfy-balancer/contract/problem'

/** How large the shape of a JSON text may be, whatever its bytes. */
export type JsonBounds = {
  readonly maxDepth: number
  readonly maxContainers: number
  readonly maxMembers: number
}

type Level = { readonly keys: Set<string> | undefined; key: string; index: number; expectsKey: boolean }

const whitespace = ' \t\r\n'
const numberToken = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const wordToken = /-?[\p{L}_$][\p{L}\p{N}_$]*/uy
const words = new Set(['true', 'false', 'null'])

/**
 * One pass over a JSON text before it is parsed: refuses what a parser would take silently (duplicate keys, `__proto__`, numbers
 * beyond a double), what exhausts it (depth, number of containers and members), and names where. Undefined when nothing is wrong;
 * the grammar itself is left to the parser.
 */
export const scanJson = (text: string, bounds: JsonBounds): ProblemPlace | undefined => new JsonScan(text, bounds).run()

/** Line and column, counted from 1, of an offset in a text. */
export const lineAndColumn = (text: string, offset: number): string => {
  const before = text.slice(0, offset)
  const lineStart = before.lastIndexOf('\n') + 1
  return `line ${before.split('\n').length} column ${offset - lineStart + 1}`
}

class JsonScan {
  readonly #text: string
  readonly #bounds: JsonBounds
  readonly #levels: Level[] = []
  #at = 0
  #containers = 0
  #members = 0

  constructor(text: string, bounds: JsonBounds) {
    this.#text = text
    this.#bounds = bounds
  }

  run(): ProblemPlace | undefined {
    if (this.#text.charCodeAt(0) === 0xfeff) return this.#fault('byte-order-mark', 'a byte order mark is not JSON')
    while (this.#skipWhitespace() < this.#text.length) {
      const fault = this.#step(this.#text[this.#at]!)
      if (fault !== undefined) return fault
    }
    return undefined
  }

  #step(char: string): ProblemPlace | undefined {
    if (char === '"') return this.#string()
    if (char === '{' || char === '[') return this.#open(char)
    if (char === '}' || char === ']') this.#levels.pop()
    else if (char === ',') this.#next()
    else if (char !== ':') return this.#scalar()
    this.#at++
    return undefined
  }

  #skipWhitespace(): number {
    while (this.#at < this.#text.length && whitespace.includes(this.#text[this.#at]!)) this.#at++
    return this.#at
  }

  #open(char: string): ProblemPlace | undefined {
    const { maxDepth, maxContainers } = this.#bounds
    if (this.#levels.length >= maxDepth) return this.#fault('too-deep', `nested deeper than ${maxDepth}`)
    if (++this.#containers > maxContainers)
      return this.#fault('too-large', `more than ${maxContainers} objects and arrays`)
    this.#levels.push({ keys: char === '{' ? new Set() : undefined, key: '', index: 0, expectsKey: char === '{' })
    this.#at++
    return undefined
  }

  #next(): void {
    const level = this.#levels.at(-1)
    if (level === undefined) return
    level.index++
    level.expectsKey = level.keys !== undefined
  }

  #string(): ProblemPlace | undefined {
    const start = this.#at
    const end = this.#endOfString(start)
    if (end === undefined) return this.#fault('unterminated', 'a string is not closed')
    const level = this.#levels.at(-1)
    if (level?.expectsKey) {
      level.expectsKey = false
      const fault = this.#key(level, this.#text.slice(start + 1, end))
      if (fault !== undefined) return fault
    }
    this.#at = end + 1
    return undefined
  }

  #endOfString(start: number): number | undefined {
    let end = this.#text.indexOf('"', start + 1)
    while (end !== -1) {
      let slashes = 0
      while (this.#text[end - 1 - slashes] === '\\') slashes++
      if (slashes % 2 === 0) return end
      end = this.#text.indexOf('"', end + 1)
    }
    return undefined
  }

  #key(level: Level, raw: string): ProblemPlace | undefined {
    const { maxMembers } = this.#bounds
    level.key = unescaped(raw)
    if (++this.#members > maxMembers) return this.#fault('too-large', `more than ${maxMembers} members of objects`)
    if (level.key === '__proto__') return this.#fault('forbidden-key', 'the key "__proto__" is not taken')
    if (level.key === 'prototype' && this.#levels.at(-2)?.key === 'constructor') {
      return this.#fault('forbidden-key', 'the key "prototype" inside "constructor" is not taken')
    }
    if (level.keys?.has(level.key))
      return this.#fault('duplicate-key', `the key ${JSON.stringify(level.key.slice(0, 128))} stands twice`)
    level.keys?.add(level.key)
    return undefined
  }

  #scalar(): ProblemPlace | undefined {
    numberToken.lastIndex = this.#at
    const number = numberToken.exec(this.#text)?.[0]
    if (number !== undefined) {
      if (!Number.isFinite(Number(number)))
        return this.#fault('not-finite', 'a number is larger than a double can hold')
      this.#at += number.length
      return undefined
    }
    wordToken.lastIndex = this.#at
    const word = wordToken.exec(this.#text)?.[0] ?? this.#text[this.#at]!
    if (!words.has(word)) return this.#fault('not-json', `${word.slice(0, 32)} is not JSON`)
    this.#at += word.length
    return undefined
  }

  #fault(code: string, what: string): ProblemPlace {
    const where = lineAndColumn(this.#text, this.#at)
    return { pointer: this.#pointer(), code, detail: `${what} (${where})` }
  }

  #pointer(): string {
    const steps = this.#levels.map(level => (level.keys === undefined ? String(level.index) : level.key))
    return steps.map(step => `/${step.slice(0, 128).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
  }
}

const unescaped = (raw: string): string => {
  if (!raw.includes('\\')) return raw
  try {
    return JSON.parse(`"${raw}"`) as string
  } catch {
    return raw
  }
}
