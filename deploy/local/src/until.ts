import { setTimeout as pause } from 'node:timers/promises'

const pollMs = 25

/** Asks again and again until there is an answer; undefined when `withinMs` have passed without one. */
export const until = async <T>(
  ask: () => Promise<T | undefined> | T | undefined,
  withinMs: number
): Promise<T | undefined> => {
  const deadlineMs = performance.now() + withinMs
  for (;;) {
    const answer = await ask()
    if (answer !== undefined || performance.now() >= deadlineMs) return answer
    await pause(pollMs)
  }
}
