import { availableParallelism } from 'node:os'
import { apiSpeedChart, apiSpeedTable, measureApiSpeed } from '../api/api-speed.ts'
import { fanOutLine } from '../api/fan-out.ts'
import { onFleet, prefix } from '../on-fleet.ts'

/** `npm run bench -- api [rounds]`: what accepting and polling cost beside the least that a durable API can do. */
export const api = async (rounds: number): Promise<void> => {
  const env = { AUTH_MODE: 'none', MAX_QUEUED: '10000000', LOG_LEVEL: 'info' }
  await onFleet({ simulators: [{ speed: 1 }], env }, async (fleet, redisUrl, folder) => {
    const { posts, gets, fanOut } = await measureApiSpeed({ fleet, redisUrl, prefix, folder }, rounds)
    const text = [
      `Requests of 3 KB over 16 connections, best of ${rounds} rounds in turn, load, servers and Redis on the same ${availableParallelism()} cores, Node ${process.version}`,
      apiSpeedTable(posts),
      apiSpeedTable(gets),
      fanOutLine(fanOut)
    ]
    return { name: 'api', text: text.join('\n\n'), chart: apiSpeedChart({ posts, gets }) }
  })
}
