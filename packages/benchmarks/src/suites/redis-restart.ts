import { onRig } from '../on-rig.ts'
import { hasLost, keptTable, measureFull, measureRestarts } from '../redis-restart.ts'

/** `npm run bench -- redis-restart [times]`: whether accepted tasks outlive Redis' deaths, and a Redis that is full. */
export const redisRestart = async (times: number): Promise<void> =>
  onRig(4, async rig => {
    const kept = [await measureRestarts(rig, times), ...(await measureFull(rig))]
    const text = [
      `Posts from 6 callers through 2 balancers and their tasks' ends, 4 simulated GPUs, times as shipped, Node ${process.version}`,
      keptTable(kept),
      redisNote
    ]
    return { name: 'redis-restart', text: text.join('\n\n'), isLoss: kept.some(hasLost) }
  })

const redisNote = [
  'Redis appends to its file with `appendfsync everysec`, as we ship it, and dies by `kill -9`: what the process has written the kernel',
  'still has, so nothing is lost by that. Only when the machine itself dies (power, kernel) may up to about the last second of accepted',
  'tasks be gone; `appendfsync always` closes that gap at the price of a disk write for each change.',
  '',
  '`none` counts posts that got no answer in time; they are repeated under their idempotency key until they are accepted.'
].join('\n')
