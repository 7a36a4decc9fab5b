import { type Client, createClient } from '@comfy-balancer/client/client'
import type { Fleet } from '@comfy-balancer/local/fleet'
import { openStreams } from './event-streams.ts'
import { quantile } from './quantile.ts'
import { markdownTable } from './table.ts'

/** What tasks took in ms while so many followed others. */
export type Measured = { readonly followers: number; readonly durationsMs: readonly number[] }

const followerCount = 2_000
const followedTasks = 200
const block = 25
const warmUps = 15

const trivial = (color: number): Record<string, unknown> => ({
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color } },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'followers' } }
})

/**
 * Sequential trivial tasks in blocks, in turn without followers and with 2,000 event streams on the same balancer. These follow tasks that
 * wait for a node that is away, and that wait in either case.
 */
export const measureFollowers = async (fleet: Fleet, rounds: number): Promise<Measured[]> => {
  const url = fleet.balancerUrls[0]!
  const client = createClient({ baseUrl: url })
  const waiting = await queueForAbsentNode(fleet, client)
  const measured = [0, followerCount].map(followers => ({ followers, durationsMs: [] as number[] }))
  let color = 0
  for (let i = 0; i < warmUps; i++) await run(client, ++color)
  for (let done = 0; done < rounds; done += block) {
    for (const { followers, durationsMs } of measured) {
      const streams = Array.from({ length: followers }, (_, i) => waiting[i % waiting.length]!)
      const unfollow = await openStreams(url, streams)
      for (let i = 0; i < block; i++) durationsMs.push(await run(client, ++color))
      await unfollow()
    }
  }
  return measured
}

const run = async (client: Client, color: number): Promise<number> => {
  const startedMs = performance.now()
  const task = await client.generate({ prompt: trivial(color) }, { waitSeconds: 30 })
  if (task.state !== 'succeeded') throw new Error(`${task.state}: ${task.error?.detail}`)
  return performance.now() - startedMs
}

const queueForAbsentNode = async (fleet: Fleet, client: Client): Promise<string[]> => {
  const absent = fleet.nodes[1]!
  await absent.service.stop()
  const ids: string[] = []
  while (ids.length < followedTasks) {
    ids.push((await client.generate({ prompt: trivial(ids.length), nodeSelector: { node: absent.id } })).id)
  }
  return ids
}

/** The table of what followers add, as a ratio too. */
export const followersTable = (measured: readonly Measured[]): string => {
  const [base] = measured
  const at = (one: Measured, share: number) => quantile(one.durationsMs, share)
  const rows = measured.map(one => [
    `${one.followers.toLocaleString('en')} followers`,
    `${at(one, 0.5).toFixed(1)} ms`,
    `${at(one, 0.95).toFixed(1)} ms`,
    ...(one === base ? ['', ''] : [0.5, 0.95].map(share => (at(one, share) / at(base!, share)).toFixed(2)))
  ])
  return markdownTable(['while so many follow', 'p50', 'p95', 'ratio p50', 'ratio p95'], rows)
}
