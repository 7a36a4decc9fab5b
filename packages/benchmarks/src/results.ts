import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('../../results/', import.meta.url))

/** What a benchmark found: the name that it is kept under, its text (Markdown) and a chart (SVG). */
export type Result = { readonly name: string; readonly text: string; readonly chart?: string }

/** Prints a line. */
export const say = (text: string): void => void process.stdout.write(`${text}\n`)

/** Prints what was found and writes it beside the results of the other benchmarks. */
export const keep = ({ name, text, chart }: Result): void => {
  say(text)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${name}.md`), `${text}\n`)
  if (chart !== undefined) writeFileSync(join(folder, `${name}.svg`), `${chart}\n`)
}
