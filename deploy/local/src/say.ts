/** Prints one line for the person at the terminal. */
export const say = (line: string): void => {
  process.stdout.write(`${line}\n`)
}

/** Does one step of the set-up under its name and prints how long it took. */
export const step = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
  const startedMs = performance.now()
  if (process.stdout.isTTY) process.stdout.write(`${name} …`)
  try {
    return await work()
  } finally {
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
    say(process.stdout.isTTY ? ` ${seconds} s` : `${name}: ${seconds} s`)
  }
}
