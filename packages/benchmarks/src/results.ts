import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('../../results/', import.meta.url))

/** What a benchmark found: the name of its file, and the text in it. */
export type Result = { readonly file: string; readonly text: string }

/** Prints a line. */
export const say = (text: string): void => void process.stdout.write(`${text}\n`)

/** Writes a result beside those of the other benchmarks. */
export const write = ({ file, text }: Result): void => {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, file), `${text}\n`)
}

/** The same, and prints it. */
export const keep = (result: Result): void => {
  say(result.text)
  write(result)
}
