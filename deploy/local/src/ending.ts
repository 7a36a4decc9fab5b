import { say } from './say.ts'

const patienceMs = 1_000

/**
 * Takes what must be stopped in the order of its start, and stops it in reverse: when asked, or on Ctrl-C and SIGTERM, where the program then ends
 * with `exitCode`. A second Ctrl-C ends at once; what is left over is then ended from outside (see `guard`). npm passes Ctrl-C on although the
 * terminal has sent it to us already, so the second one counts only a second later.
 */
export const createEnding = (exitCode: number) => {
  const parts: { name: string; stop: () => Promise<void> }[] = []
  let endingSinceMs: number | undefined
  const stop = async (report: (name: string) => void = () => undefined): Promise<void> => {
    for (let part = parts.pop(); part; part = parts.pop()) {
      report(part.name)
      await part.stop()
    }
  }
  const onSignal = async (): Promise<void> => {
    if (endingSinceMs !== undefined) {
      if (performance.now() - endingSinceMs > patienceMs) process.exit(130)
      return
    }
    endingSinceMs = performance.now()
    say('\nstopping; Ctrl-C again ends at once')
    await stop(name => say(`  ${name}`))
    process.exit(exitCode)
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return {
    add: (name: string, stopPart: () => Promise<void>): void => {
      parts.push({ name, stop: stopPart })
    },
    stop,
    isEnding: (): boolean => endingSinceMs !== undefined
  }
}
