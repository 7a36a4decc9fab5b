import { setMaxListeners } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { between, oneOf, type Random, randomFrom } from '../random.ts'
import type { Rig } from '../rig/rig.ts'
import type { Caller, Front } from './caller.ts'
import { aRequest, type Wish } from './workflows.ts'

/** Many callers at once, each posting one task after the other and following it in a manner of its own. */
export type Crowd = {
  /** Posts a task apart from the others; resolves with its id once accepted. */
  readonly post: (wish: Wish) => Promise<{ key: string; task: string } | undefined>
  /** Nobody posts any more; resolves when the callers have gone home. */
  readonly stop: () => Promise<void>
}

export type CrowdOptions = { readonly seed: number; readonly callers: number }

const manners = ['poll', 'poll', 'wait', 'stream', 'stream', 'cancel early', 'cancel late', 'leave'] as const
const postMs = 20_000
const followMs = 25_000

/** Mostly pictures; some fail, some are in a hurry, some have less time than they need. */
const aWish = (random: Random): Wish => ({
  kind: random() < 0.03 ? 'faulty' : 'picture',
  ms: between(random, 200, 1_400),
  ...(random() < 0.05 ? { timeoutSeconds: 1 } : {}),
  ...(random() < 0.05 ? { deadlineSeconds: between(random, 1, 3) } : {}),
  ...(random() < 0.2 ? { priority: between(random, 0, 100) } : {})
})

/** Lets the callers in. */
export const startCrowd = (rig: Rig, caller: Caller, { seed, callers }: CrowdOptions): Crowd => {
  const leaving = new AbortController()
  setMaxListeners(0, leaving.signal)
  const balancers: Front[] = rig.balancers.map(({ id, url }) => ({ id, url }))
  const services: Front[] = rig.nodes.map(({ id, url }) => ({ id, url }))
  let count = 0

  const frontsFor = (random: Random): Front[] => {
    if (random() < 0.1) return [oneOf(random, services)]
    return random() < 0.5 ? balancers : [...balancers].reverse()
  }

  const post = async (wish: Wish, fronts: readonly Front[] = balancers, twice = false) => {
    const key = `${seed}-${++count}`
    const options = { withinMs: postMs, signal: leaving.signal }
    const task = await caller.post(fronts, key, aRequest(wish, key), options)
    if (task && twice) await caller.post(fronts.toReversed(), key, aRequest(wish, key), options)
    return task && { key, task: task.id }
  }

  const untilEnded = async (look: () => Promise<boolean>, everyMs: number): Promise<void> => {
    const deadlineMs = performance.now() + followMs
    while (performance.now() < deadlineMs && !leaving.signal.aborted) {
      if (await look()) return
      await pause(everyMs)
    }
  }

  const attend = async (random: Random, key: string, task: string): Promise<void> => {
    const manner = oneOf(random, manners)
    const front = () => oneOf(random, balancers)
    if (random() < 0.3) await caller.trespass(front(), key, task)
    const isOver = ({ state, status }: { state: string | undefined; status: number }) =>
      status === 410 || status === 404 || (state !== undefined && state !== 'queued' && state !== 'running')
    if (manner === 'leave') return
    if (manner === 'cancel late') await pause(between(random, 100, 1_500))
    if (manner === 'cancel early' || manner === 'cancel late') {
      await untilEnded(() => caller.cancel(front(), key, task), 200)
    }
    if (manner === 'stream') {
      let version = 0
      return untilEnded(async () => {
        const end = await caller.follow(front(), key, task, version, leaving.signal)
        version = end.version
        return end.isOver
      }, 100)
    }
    const waitSeconds = manner === 'wait' ? 2 : 0
    await untilEnded(async () => isOver(await caller.get(front(), key, task, waitSeconds)), between(random, 150, 500))
  }

  const live = async (random: Random): Promise<void> => {
    while (!leaving.signal.aborted) {
      const posted = await post(aWish(random), frontsFor(random), random() < 0.1)
      if (posted) await attend(random, posted.key, posted.task)
      await pause(between(random, 0, 400))
    }
  }

  const lives = Array.from({ length: callers }, (_, i) => live(randomFrom(seed * 1_000 + i)))
  return {
    post,
    stop: async () => {
      leaving.abort()
      await Promise.all(lives)
    }
  }
}
