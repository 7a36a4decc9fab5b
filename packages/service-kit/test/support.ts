import type { Log, LogLine } from '../src/log.ts'

/** Resolves when the condition holds; rejects after the limit. */
export const until = async (condition: () => boolean, limitMs = 20_000): Promise<void> => {
  const startedAtMs = performance.now()
  while (!condition()) {
    if (performance.now() - startedAtMs > limitMs) throw new Error(`not so within ${limitMs} ms: ${condition}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

/** One remembered line of the log. */
export type Line = { readonly level: string; readonly fields: object; readonly message: string }

/** A log that remembers its lines. */
export const aLog = (): { log: Log; lines: Line[] } => {
  const lines: Line[] = []
  const at =
    (level: string): LogLine =>
    (fields, message) =>
      void lines.push({ level, fields, message })
  const log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), fatal: at('fatal') }
  return { log, lines }
}
