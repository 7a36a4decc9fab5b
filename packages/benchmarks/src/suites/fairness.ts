import { fairnessTable, gpus, measureFairness } from '../fairness.ts'
import { onFleet, prefix } from '../on-fleet.ts'

const queuedTasks = 1_000

/** `npm run bench -- fairness [light tasks]`: how long a tenant waits beside another that has 1,000 tasks queued. */
export const fairness = async (light: number): Promise<void> =>
  onFleet({ ...gpus, env: { AUTH_MODE: 'keys' } }, async (fleet, redisUrl) => {
    const place = { url: fleet.balancerUrls[0]!, redisUrl, prefix }
    const found = await measureFairness(place, queuedTasks, light)
    const title = [
      `${light} tasks of one tenant, one after another, beside ${queuedTasks} queued by another (${found.stillQueued} still queued at the end)`,
      `${gpus.simulators.length} simulated GPUs, a task takes ${found.taskSeconds.toFixed(2)} s, Node ${process.version}`
    ].join('; ')
    return { name: 'fairness', text: `${title}\n\n${fairnessTable(found)}` }
  })
