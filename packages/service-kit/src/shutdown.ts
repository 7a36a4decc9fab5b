import type { Log } from './log.ts'

/** One step of a shutdown. A step that fails or runs past its deadline is logged, and the next one begins. */
export type ShutdownStep = {
  readonly name: string
  readonly deadlineMs: number
  readonly run: () => Promise<unknown> | unknown
}

const signals = ['SIGTERM', 'SIGINT'] as const
const lastWordsMs = 100

/**
 * Runs the steps in order on SIGTERM or SIGINT, then exits with 0; a second signal exits at once with 1. An exception or rejection that
 * nobody caught is logged as fatal and takes the same way, with 1. Call it once per process; `stop` begins the same way by hand.
 */
export const onShutdown = (steps: readonly ShutdownStep[], log: Log): { stop: (reason: string) => void } => {
  let isStopping = false
  const begin = (reason: string, exitCode: number): void => {
    if (isStopping) return
    isStopping = true
    void shutDown(steps, log, reason, exitCode)
  }
  for (const signal of signals) {
    process.on(signal, () => {
      if (!isStopping) return begin(signal, 0)
      log.warn({ signal }, 'second signal: leaving at once')
      process.exit(1)
    })
  }
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (err: unknown) => {
      log.fatal({ err, event }, 'an error was caught by nobody')
      if (isStopping) process.exitCode = 1
      begin(event, 1)
    })
  }
  return { stop: reason => begin(reason, 0) }
}

const shutDown = async (steps: readonly ShutdownStep[], log: Log, reason: string, exitCode: number): Promise<void> => {
  log.info({ reason }, 'shutting down')
  for (const step of steps) await runStep(step, log)
  log.info({ reason }, 'shut down')
  setTimeout(() => process.exit(exitCode || process.exitCode || 0), lastWordsMs)
}

const runStep = async (step: ShutdownStep, log: Log): Promise<void> => {
  const startedAtMs = performance.now()
  const fields = () => ({ step: step.name, durationMs: Math.round(performance.now() - startedAtMs) })
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<'late'>(resolve => {
    timer = setTimeout(resolve, step.deadlineMs, 'late')
  })
  try {
    const ended = await Promise.race([Promise.resolve().then(step.run), late])
    if (ended === 'late') log.warn({ ...fields(), deadlineMs: step.deadlineMs }, 'shutdown step is past its deadline')
    else log.info(fields(), 'shutdown step done')
  } catch (err) {
    log.error({ ...fields(), err }, 'shutdown step failed')
  } finally {
    clearTimeout(timer)
  }
}
