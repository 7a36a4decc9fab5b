import { availableParallelism } from 'node:os'
import { withFleet } from '../on-fleet.ts'
import { idleGapTable, measureIdleGaps, waitingTasks } from '../real/idle-gap.ts'
import { measureRace, raceChart, raceTable, speeds, trace } from '../real/race.ts'
import { keep } from '../results.ts'

/** `npm run bench -- real [rounds]`: the same tasks through us and through what users would pick instead, real programs all. */
export const real = async (rounds: number): Promise<void> => {
  const more = { env: { AUTH_MODE: 'none' }, simulatorArgs: ['--tell-prompts', '--no-previews', '--load-gbps', '10'] }
  const race = await withFleet({ ...more, simulators: speeds.map(speed => ({ speed })) }, (fleet, _, folder) =>
    measureRace(fleet, folder, rounds)
  )
  const gaps = await withFleet({ ...more, simulators: [{ speed: 1 }] }, (fleet, _, folder) =>
    measureIdleGaps(fleet, folder, rounds)
  )
  const text = [
    [
      `${trace.tasks} tasks, one each ${trace.everyMs} ms, for four simulated GPUs with speeds ${speeds.join(', ')}, whose model is loaded; a task takes them`,
      `${race.taskMs.join(', ')} ms, measured inside ComfyUI. Until the last picture is in the caller's hands, ${rounds} runs of each way in turn, once`,
      `all programs are warm and our balancer has learned the speeds. ${race.peers.join(', ')}, Node ${process.version}, ${availableParallelism()} cores for all programs together`
    ].join('\n'),
    raceTable(race),
    `How long a simulated GPU does nothing between two of ${waitingTasks} tasks of one model that wait for it, by its own clock, ${rounds} runs of each way in turn`,
    idleGapTable(gaps),
    realNote
  ]
  keep({ name: 'real', text: text.join('\n\n'), chart: raceChart(race) })
}

const realNote = [
  "HAProxy's `leastconn` and nginx' `least_conn` stand in front of ComfyUI's own API, where a post is answered at once and every node always",
  'looks free. "One connection each" is HAProxy with `maxconn 1` and its queue, in front of a small program beside each ComfyUI that holds the',
  "answer until the prompt has ended; ComfyUI has nothing of the kind. ComfyPool's other two modes hand every task to a ComfyUI at once."
].join('\n')
