import { setTimeout as pause } from 'node:timers/promises'
import { aPicture } from './picture.ts'
import type { Way } from './way.ts'

/** So many tasks, one each so many ms; `steps` makes them others than ordinary ones. */
export type Trace = { readonly tasks: number; readonly everyMs: number; readonly steps?: number }

/** When the last picture of a trace had come, in ms, and how many never came. */
export type Played = { readonly endMs: number; readonly lost: number }

/** Posts the trace's tasks in its time. */
export const playTrace = async (way: Way, { tasks, everyMs, steps }: Trace): Promise<Played> => {
  const startedMs = performance.now()
  const play = async (i: number): Promise<number> => {
    await pause(startedMs + i * everyMs - performance.now())
    return way.run(aPicture(steps))
  }
  const runs = await Promise.allSettled(Array.from({ length: tasks }, (_, i) => play(i)))
  const endMs = performance.now() - startedMs
  return { endMs, lost: runs.filter(run => run.status === 'rejected' || run.value === 0).length }
}

/** When the trace would end if all nodes could work on every task together: no dispatch can be quicker. */
export const fluidEndMs = ({ tasks, everyMs }: Trace, taskMs: readonly number[]): number => {
  const tasksPerMs = taskMs.reduce((sum, ms) => sum + 1 / ms, 0)
  const ends = Array.from({ length: tasks }, (_, i) => i * everyMs + (tasks - i) / tasksPerMs)
  return Math.max(...ends)
}

/** When it would end if each task went at once to the node that then ends it first: the best that whole tasks allow, without any overhead. */
export const wholeTasksEndMs = ({ tasks, everyMs }: Trace, taskMs: readonly number[]): number => {
  const freeMs = taskMs.map(() => 0)
  for (let i = 0; i < tasks; i++) {
    const endsMs = taskMs.map((ms, node) => Math.max(freeMs[node]!, i * everyMs) + ms)
    const first = endsMs.indexOf(Math.min(...endsMs))
    freeMs[first] = endsMs[first]!
  }
  return Math.max(...freeMs)
}

const waves = 15
const wave: Trace = { tasks: 40, everyMs: 0, steps: 1 }

/** Short tasks, until V8 has compiled what runs often: programs in service have run for longer than a minute. */
export const warmUp = async (way: Way): Promise<void> => {
  for (let i = 0; i < waves; i++) await playTrace(way, wave)
}
