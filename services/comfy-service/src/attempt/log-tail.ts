/** The last lines of a text that grows, within a bound. */
export type LogTail = ReturnType<typeof createLogTail>

/** Keeps at most `maxCharacters`; of more the beginning goes. */
export const createLogTail = (maxCharacters: number) => {
  let text = ''
  return {
    add(more: string): void {
      text = (text + more).slice(-2 * maxCharacters)
    },
    text: (): string => text.slice(-maxCharacters)
  }
}
