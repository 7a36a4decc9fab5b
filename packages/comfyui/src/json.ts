/** Index of the quote that ends the JSON string starting at `start`, or the text's length when it never ends. */
export const endOfString = (text: string, start: number): number => {
  for (let at = text.indexOf('"', start + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let backslashes = 0
    while (text[at - 1 - backslashes] === '\\') backslashes++
    if (backslashes % 2 === 0) return at
  }
  return text.length
}

const withoutNonFinite = (text: string): string => {
  const pieces: string[] = []
  let from = 0
  for (let quote = text.indexOf('"'); quote !== -1; quote = text.indexOf('"', from)) {
    const end = endOfString(text, quote)
    pieces.push(text.slice(from, quote).replace(/-?\b(?:NaN|Infinity)\b/g, 'null'), text.slice(quote, end + 1))
    from = end + 1
  }
  pieces.push(text.slice(from).replace(/-?\b(?:NaN|Infinity)\b/g, 'null'))
  return pieces.join('')
}

/**
 * Parses what ComfyUI sends: JSON in which Python may have written NaN, Infinity and -Infinity, which become null. Throws a
 * SyntaxError for anything else that is not JSON.
 */
export const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (!/NaN|Infinity/.test(text)) throw error
    return JSON.parse(withoutNonFinite(text))
  }
}
