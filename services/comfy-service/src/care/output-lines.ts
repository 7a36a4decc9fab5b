import { stripVTControlCharacters } from 'node:util'

/** `maxCharacters` of one line; after `burst` lines at once, `perSecond` more each second. */
export type OutputLineBounds = { readonly maxCharacters: number; readonly burst: number; readonly perSecond: number }

export const outputLineBounds: OutputLineBounds = { maxCharacters: 2_000, burst: 500, perSecond: 50 }

/** Told of lines, and of how many were left out before this one. */
export type OnLine = (line: string, leftOut: number) => void

/**
 * Cuts a program's output into lines, within bounds. Of a progress bar, which overwrites its line, only the last state counts. `nowMs` is a
 * clock that never goes back.
 */
export const createOutputLines = (bounds: OutputLineBounds, onLine: OnLine, nowMs = () => performance.now()) => {
  const { maxCharacters, burst, perSecond } = bounds
  let rest = ''
  let leftOut = 0
  let credit = burst
  let creditAtMs = nowMs()

  const isWithinRate = (): boolean => {
    const now = nowMs()
    credit = Math.min(burst, credit + ((now - creditAtMs) / 1_000) * perSecond)
    creditAtMs = now
    if (credit < 1) return false
    credit--
    return true
  }

  const tell = (text: string): void => {
    const line = lastState(text).slice(0, maxCharacters)
    if (line === '') return
    if (!isWithinRate()) {
      leftOut++
      return
    }
    onLine(line, leftOut)
    leftOut = 0
  }

  return {
    add(text: string): void {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) tell(line)
      if (rest.length > 2 * maxCharacters) rest = rest.slice(rest.lastIndexOf('\r') + 1).slice(0, maxCharacters)
    },
    /** What stands without an end of line is a line after all. */
    end(): void {
      tell(rest)
      rest = ''
    }
  }
}

const lastState = (text: string): string =>
  stripVTControlCharacters(text)
    .split('\r')
    .map(part => part.trimEnd())
    .findLast(part => part !== '') ?? ''
