/** Names and limits that scripts read as `K.name` and `L.name`. A limit that is not set is nil. */
export type Constants = {
  readonly K: Readonly<Record<string, string>>
  readonly L: Readonly<Record<string, string | number>>
}

type Definition = { readonly names: readonly string[]; readonly lines: readonly string[] }

const begins = /^local (?:function (\w+)|([\w, ]+?)\s*=)/
const word = /\b[A-Za-z_]\w*\b/g

/**
 * Makes the text that Redis runs from a script and the definitions that scripts share: only those that it needs, and every constant in its
 * place. A script runs its text from the top each time, so what it does not need would cost it some microseconds a call. Throws for a constant that does not exist.
 */
export const linkScript = (shared: string, own: string, constants: Constants): string => {
  const definitions = definitionsOf(shared)
  const needed = new Set(own.match(word))
  const kept = definitions.toReversed().filter(({ names, lines }) => {
    const isNeeded = names.some(name => needed.has(name))
    if (isNeeded) for (const name of lines.join('\n').match(word) ?? []) needed.add(name)
    return isNeeded
  })
  return withConstants([...kept.reverse().flatMap(({ lines }) => lines), own].join('\n'), constants)
}

/** Top-level definitions: each begins in the first column and ends where the next one begins. */
const definitionsOf = (text: string): Definition[] => {
  const found: { names: string[]; lines: string[] }[] = []
  for (const line of text.split('\n')) {
    if (line.trim() === '' || line.startsWith('--')) continue
    const [, name, list] = begins.exec(line) ?? []
    if (name || list) found.push({ names: (name ?? list!).split(/,\s*/), lines: [line] })
    else found.at(-1)!.lines.push(line)
  }
  return found
}

const withConstants = (text: string, constants: Constants): string =>
  text.replace(/\b([KL])\.(\w+)/g, (_, table: 'K' | 'L', name: string) => {
    const value = constants[table][name]
    if (value !== undefined) return typeof value === 'number' ? String(value) : `[==[${value}]==]`
    if (table === 'K') throw new Error(`a script names the key ${name}, which keys.ts does not`)
    return 'nil'
  })
