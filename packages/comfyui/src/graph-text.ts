import type { Flaw } from '@comfy-balancer/domain/workflow'
import { endOfString } from './json.ts'

type Level = { readonly keys: Set<string> | undefined; segment: string | number }

const pointerTo = (levels: readonly Level[]): string =>
  levels.map(({ segment }) => `/${String(segment).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')

const unquoted = (quoted: string): string => {
  try {
    return JSON.parse(quoted)
  } catch {
    return quoted.slice(1, -1)
  }
}

const isKey = (text: string, afterString: number): boolean => {
  let at = afterString
  while (at < text.length && ' \t\r\n'.includes(text[at]!)) at++
  return text[at] === ':'
}

const flawOfKey = (key: string, keys: Set<string>, levels: readonly Level[]): Flaw | undefined => {
  if (key === '__proto__') {
    return { pointer: pointerTo(levels), code: 'reserved-key', detail: 'The key __proto__ cannot be used' }
  }
  if (!keys.has(key)) return undefined
  return { pointer: pointerTo(levels), code: 'duplicate-key', detail: `The key ${JSON.stringify(key)} occurs twice` }
}

/**
 * Walks a JSON text once, without recursion, for what a parser would hide: a key that occurs twice in one object, `__proto__`, and
 * nesting deeper than `maxDepth` (which ends the walk). Reports at most `maxFlaws`; whether the text is JSON at all is for the parser.
 */
export const flawsOfText = (text: string, maxDepth: number, maxFlaws: number): Flaw[] => {
  const flaws: Flaw[] = []
  const levels: Level[] = []
  for (let at = 0; at < text.length && flaws.length < maxFlaws; at++) {
    const char = text[at]
    const level = levels.at(-1)
    if (char === '{' || char === '[') {
      if (levels.length === maxDepth) {
        const detail = `The JSON is nested deeper than ${maxDepth} levels`
        return [...flaws, { pointer: pointerTo(levels), code: 'too-deep', detail }]
      }
      levels.push({ keys: char === '{' ? new Set() : undefined, segment: char === '{' ? '' : 0 })
    } else if (char === '}' || char === ']') {
      levels.pop()
    } else if (char === ',' && level && typeof level.segment === 'number') {
      level.segment++
    } else if (char === '"') {
      const end = endOfString(text, at)
      if (level?.keys && isKey(text, end + 1)) {
        const key = unquoted(text.slice(at, end + 1))
        level.segment = key
        const flaw = flawOfKey(key, level.keys, levels)
        if (flaw) flaws.push(flaw)
        level.keys.add(key)
      }
      at = end
    }
  }
  return flaws
}
