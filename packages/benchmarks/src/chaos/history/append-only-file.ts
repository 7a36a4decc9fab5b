import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** What Redis did in one step: a script with all its writes, or a single command. `second` is the last one that Redis had noted. */
export type Transaction = { readonly second: number; readonly commands: readonly (readonly string[])[] }

const lineEnd = 13

/**
 * Reads the append-only file of a Redis as its history: every write in its order, scripts whole. It survives kill -9, for Redis writes it
 * before it answers. A last step that is not whole yet is left out. Throws on anything else that is no command.
 */
export const readTransactions = (folder: string): Transaction[] => {
  const files = readdirSync(folder).filter(name => name.endsWith('.incr.aof'))
  return files
    .toSorted((a, b) => numberOf(a) - numberOf(b))
    .flatMap(name => parseTransactions(readFileSync(join(folder, name))))
}

const numberOf = (name: string): number => Number(/\.(\d+)\.incr\.aof$/.exec(name)?.[1] ?? 0)

/** Splits the bytes of an append-only file into its steps. */
export const parseTransactions = (bytes: Buffer): Transaction[] => {
  const found: Transaction[] = []
  let at = 0
  let second = 0
  let open: string[][] | undefined
  for (;;) {
    const mark = bytes[at]
    if (mark === undefined) return found
    if (mark === 0x23) {
      const end = bytes.indexOf(lineEnd, at)
      if (end < 0) return found
      second = Number(bytes.toString('latin1', at + 4, end)) || second
      at = end + 2
      continue
    }
    const read = readCommand(bytes, at)
    if (!read) return found
    at = read.end
    const name = read.words[0]?.toUpperCase()
    if (name === 'MULTI') open = []
    else if (name === 'EXEC') {
      if (open) found.push({ second, commands: open })
      open = undefined
    } else if (open) open.push(read.words)
    else if (name !== 'SELECT') found.push({ second, commands: [read.words] })
  }
}

const readCommand = (bytes: Buffer, from: number): { words: string[]; end: number } | undefined => {
  const head = readNumber(bytes, from, '*')
  if (!head) return undefined
  const words: string[] = []
  let at = head.end
  for (let i = 0; i < head.value; i++) {
    const length = readNumber(bytes, at, '$')
    if (!length || length.end + length.value + 2 > bytes.length) return undefined
    words.push(bytes.toString('utf8', length.end, length.end + length.value))
    at = length.end + length.value + 2
  }
  return { words, end: at }
}

const readNumber = (bytes: Buffer, at: number, mark: string): { value: number; end: number } | undefined => {
  const end = bytes.indexOf(lineEnd, at)
  if (end < 0 || end + 1 >= bytes.length) return undefined
  const text = bytes.toString('latin1', at, end)
  if (text[0] !== mark) throw new Error(`the append-only file has ${JSON.stringify(text.slice(0, 40))} at byte ${at}`)
  return { value: Number(text.slice(1)), end: end + 2 }
}
