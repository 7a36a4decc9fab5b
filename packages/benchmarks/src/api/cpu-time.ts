import { readFileSync } from 'node:fs'

/** Ticks of /proc are hundredths of a second everywhere Linux runs. */
const tickMs = 10

/** The CPU time that a process has used so far, all its threads together, in ms. Linux only. */
export const cpuTimeMs = (pid: number): number => {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * tickMs
}
