/**
 * The program that ends what a dead parent left behind. It is told of process groups on its standard input (`+pid`, `-pid`, one a line);
 * when that closes, be it by kill -9 of the parent, it ends them: SIGTERM, and SIGKILL for those still there after five seconds.
 */
import { createInterface } from 'node:readline'
import { until } from './until.ts'

const graceMs = 5_000
const groups = new Set<number>()

for await (const line of createInterface({ input: process.stdin })) {
  const pid = Number(line.slice(1))
  if (!Number.isInteger(pid) || pid < 2) continue
  if (line.startsWith('+')) groups.add(pid)
  else groups.delete(pid)
}
await Promise.all([...groups].map(endGroup))

async function endGroup(pid: number): Promise<void> {
  if (!signal(pid, 'SIGTERM')) return
  const gone = await until(() => (signal(pid, 0) ? undefined : true), graceMs)
  if (!gone) signal(pid, 'SIGKILL')
}

function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-pid, name)
  } catch {
    return false
  }
}
