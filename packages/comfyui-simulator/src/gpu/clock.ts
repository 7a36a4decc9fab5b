/** Simulated time: waits are multiplied by a scale and end with an error when the clock stops. */
export interface Clock {
  /** Waits simulated seconds. Rejects with `ClockStopped` when the simulator ends first. */
  sleep(seconds: number): Promise<void>
  /** Lets requests in between two nodes, as ComfyUI's own thread for prompts does. Rejects with `ClockStopped` after the end. */
  breathe(): Promise<void>
  /** Simulated seconds since the clock was created. */
  now(): number
  /** Rejects when the clock stops; never resolves. */
  stopped(): Promise<never>
  stop(): void
}

/** Thrown by every wait when the simulator ends or restarts. */
export class ClockStopped extends Error {}

/** A clock whose second lasts `scale` real seconds. */
export function createClock(scale: number): Clock {
  const waiting = new Set<() => void>()
  const start = performance.now()
  let isStopped = false

  const wait = (delayMs: number): Promise<void> =>
    new Promise((resolve, reject) => {
      if (isStopped) return reject(new ClockStopped())
      const end = () => {
        clearTimeout(timer)
        reject(new ClockStopped())
      }
      const timer = setTimeout(() => {
        waiting.delete(end)
        resolve()
      }, delayMs)
      waiting.add(end)
    })

  return {
    sleep: seconds => wait(Math.max(0, seconds * scale * 1000)),
    breathe: () =>
      new Promise((resolve, reject) => {
        setImmediate(() => (isStopped ? reject(new ClockStopped()) : resolve()))
      }),
    now: () => (performance.now() - start) / 1000 / scale,
    stopped: () =>
      new Promise<never>((_, reject) => {
        if (isStopped) return reject(new ClockStopped())
        waiting.add(() => reject(new ClockStopped()))
      }),
    stop() {
      isStopped = true
      for (const end of waiting) end()
      waiting.clear()
    }
  }
}
