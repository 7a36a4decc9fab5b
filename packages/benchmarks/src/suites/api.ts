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
      fanOutLine(fanOut),
      apiNote
    ]
    return { name: 'api', text: text.join('\n\n'), chart: apiSpeedChart({ posts, gets }) }
  })
}

const apiNote = [
  'What the shares pay for: the peer validates the shape, writes five keys and is done. A POST also scans the body for what a parser would take silently, reads the graph, holds',
  "every class, model and file in it against what the nodes have, derives its need and its fingerprint, asks the tenant's limits, takes a place by tenant, need, order and size, wakes the",
  'dispatchers, logs, counts, and answers with where the task stands and when it is due. No part of that is a fifth of the whole, so none can be left out to any purpose. A GET asks for that place and due time.'
].join('\n')
