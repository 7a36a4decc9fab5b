/** Draws lines over the lines it drew before; on anything but a terminal it draws nothing and passes single messages on instead. */
export const createScreen = (stream: NodeJS.WriteStream) => {
  let drawn = 0
  const wipe = () => {
    if (drawn > 0) stream.write(`\x1b[${drawn}A\x1b[0J`)
    drawn = 0
  }
  return {
    isLive: stream.isTTY === true,
    columns: (): number => stream.columns ?? 120,
    draw: (lines: readonly string[]): void => {
      if (!stream.isTTY) return
      wipe()
      stream.write(`${lines.join('\n')}\n`)
      drawn = lines.length
    },
    message: (line: string): void => {
      if (!stream.isTTY) stream.write(`${line}\n`)
    }
  }
}
