import { redisNowMs } from './redis-time.ts'
import type { StoreDeps } from './store-deps.ts'

/** A workflow that is refused to its tenant for a while: it took ComfyUI down on several nodes. */
export type QuarantinedWorkflow = {
  readonly tenant: string
  readonly fingerprint: string
  /** The task it was found with, and the nodes that went down. */
  readonly task: string
  readonly nodes: readonly string[]
  readonly sinceMs: number
  readonly untilMs: number
}

export type Quarantine = ReturnType<typeof createQuarantine>

const maxListed = 1_000

/** The workflows in quarantine: listing and lifting. */
export const createQuarantine = ({ redis, keys, run }: StoreDeps) => ({
  /** Those of one tenant, or of all, the latest first; at most 1,000. */
  async list(tenant?: string): Promise<QuarantinedWorkflow[]> {
    const rows = await redis.zrange(
      keys.poisons(),
      '+inf',
      '-inf',
      'BYSCORE',
      'REV',
      'LIMIT',
      0,
      maxListed,
      'WITHSCORES'
    )
    const names = rows.flatMap((name, i) => (i % 2 === 0 ? [{ name, untilMs: Number(rows[i + 1]) }] : []))
    const texts = await Promise.all(names.map(({ name }) => redis.get(keys.poison(name))))
    return names.flatMap(({ name, untilMs }, i) => {
      const [owner = '', fingerprint = ''] = name.split(/:(?=[^:]*$)/)
      const text = texts[i]
      if (!text || (tenant !== undefined && owner !== tenant)) return []
      const { task, nodes, sinceMs } = JSON.parse(text) as { task: string; nodes: string; sinceMs: number }
      return [{ tenant: owner, fingerprint, task, nodes: nodes.split(','), sinceMs, untilMs }]
    })
  },

  /** How many there are. */
  async count(): Promise<number> {
    return redis.zcount(keys.poisons(), await redisNowMs(redis), '+inf')
  },

  /** Lifts one; false when there is no such. */
  async lift(tenant: string, fingerprint: string): Promise<boolean> {
    return (await run('pardon', tenant, fingerprint)) === 'pardoned'
  }
})
