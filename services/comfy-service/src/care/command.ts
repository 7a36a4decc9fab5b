/** Reads COMFYUI_COMMAND: a JSON list of a program and its arguments, as in a Dockerfile. Undefined when the text is anything else. */
export const readCommand = (text: string): readonly [string, ...string[]] | undefined => {
  try {
    const words: unknown = JSON.parse(text)
    if (!Array.isArray(words) || !words.every(word => typeof word === 'string')) return undefined
    return words[0] ? (words as [string, ...string[]]) : undefined
  } catch {
    return undefined
  }
}
