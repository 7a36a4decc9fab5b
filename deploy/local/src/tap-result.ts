/** What a test run counted, in assertions. */
export type Counts = {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  readonly todo: number
}

/** Reads the counts from the last comment of tap's raw output (`# { total: 8, pass: 5, fail: 1, todo: 1, skip: 1 }`); undefined when the run broke off before it. */
export const readCounts = (tap: string): Counts | undefined => {
  const summary = tap.match(/^# \{ total: .*\}$/gm)?.at(-1)
  if (!summary) return undefined
  const count = (name: string) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(summary)?.[1] ?? 0)
  return { passed: count('pass'), failed: count('fail'), skipped: count('skip'), todo: count('todo') }
}

/** The closing line that people and CI read. */
export const closingLine = ({ passed, failed, skipped, todo }: Counts): string =>
  `${passed} passed, ${failed} failed${skipped + todo > 0 ? `, ${skipped + todo} skipped` : ''}`

/** The files that ran, one line each, and every failed assertion with its diagnosis: what a log without a terminal needs. */
export const brief = (tap: string): string[] => {
  const lines = tap.split('\n')
  return lines.flatMap((line, index) => {
    if (/^(not )?ok \d+ - /.test(line))
      return [line.replace(/^(not )?ok \d+ - /, (_, not) => (not ? 'FAILED ' : 'ok     '))]
    return /^ +not ok \d+/.test(line) && !/# (SKIP|TODO)/i.test(line) ? diagnosis(lines, index) : []
  })
}

const diagnosis = (lines: string[], from: number): string[] => {
  const isSummary = / # time=[\d.]+ms$/.test(lines[from] ?? '')
  if (isSummary || lines[from + 1]?.trim() !== '---') return [lines[from] ?? '']
  const end = lines.findIndex((line, index) => index > from && line.trim() === '...')
  return lines.slice(from, end + 1)
}
