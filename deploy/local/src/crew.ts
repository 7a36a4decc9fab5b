import { ending, type Process, startProcess } from './processes.ts'

/** See `createCrew`. */
export type Crew = ReturnType<typeof createCrew>

/** Keeps the processes of a fleet. Those in front (balancers, services) are ended before those behind (simulators): senders before receivers. */
export const createCrew = (onUnexpectedEnd?: (process: Process, how: string) => void) => {
  const inFront: Process[] = []
  const behind: Process[] = []
  let stopping = false
  const stopAll = (processes: Process[], graceMs?: number) => Promise.all(processes.map(one => one.stop(graceMs)))
  const start = async (front: boolean, options: Parameters<typeof startProcess<string>>[0]) => {
    const started = await startProcess<string>(options)
    ;(front ? inFront : behind).push(started)
    started.exited.then(exit => {
      if (!stopping) onUnexpectedEnd?.(started, ending(exit))
    })
    return started
  }
  const stop = async (graceMs?: number): Promise<void> => {
    stopping = true
    await stopAll(inFront, graceMs)
    await stopAll(behind, graceMs)
  }
  return { start, stop }
}

/** Like Promise.all, but lets all of them settle first, so that nothing is still starting when we stop what has started. */
export const allOrThrow = async <T>(work: Promise<T>[]): Promise<T[]> => {
  await Promise.allSettled(work)
  return Promise.all(work)
}
