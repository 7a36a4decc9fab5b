import { onRedis } from '../on-fleet.ts'
import { measureScale, scaleChart, scaleReport } from '../scale.ts'

/** `npm run bench -- scale [tasks]`: what a task costs with many nodes, a long queue, many tenants. */
export const scale = async (tasks: number): Promise<void> =>
  onRedis(async redis => {
    const samples = await measureScale(redis.url, tasks)
    const title = `${tasks} times a task ends and the next is dispatched in its place, by the real dispatcher and scripts, Redis ${redis.version}, Node ${process.version}`
    return { name: 'scale', text: `${title}\n\n${scaleReport(samples)}`, chart: scaleChart(samples) }
  })
