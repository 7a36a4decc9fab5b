import { setTimeout as pause } from 'node:timers/promises'
import { type Client, createClient } from '@comfy-balancer/client/client'
import { ProblemError } from '@comfy-balancer/client/problem-error'
import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import { until } from '@comfy-balancer/local/until'
import { createCaller } from './chaos/callers/caller.ts'
import { aRequest } from './chaos/callers/workflows.ts'
import type { Rig } from './chaos/rig/rig.ts'
import { untilReady } from './failover.ts'
import { markdownTable } from './table.ts'

/** How posts were answered, and how the accepted tasks ended. */
export type Kept = {
  readonly what: string
  readonly answers: ReadonlyMap<string, number>
  readonly ends: ReadonlyMap<string, number>
}

const callers = 6
const taskMs = 300
const acceptedBetween = 20
const downMs = 500
const withinMs = 120_000

const count = (words: readonly string[]): Map<string, number> => {
  const counts = new Map<string, number>()
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
  return counts
}

/** Kills Redis so many times while callers post, each post repeated under its key until it is accepted. */
export const measureRestarts = async (rig: Rig, times: number): Promise<Kept> => {
  const answers: { readonly status: number; readonly task?: string | undefined }[] = []
  const caller = createCaller(call => answers.push(call))
  const over = new AbortController()
  const live = async (name: number): Promise<void> => {
    for (let i = 0; !over.signal.aborted; i++) {
      const key = `restart-${name}-${i}`
      const options = { withinMs, signal: over.signal }
      const task = await caller.post(rig.balancers, key, aRequest({ kind: 'picture', ms: taskMs }, key), options)
      if (!task && !over.signal.aborted) throw new Error(`${key} was not accepted within ${withinMs} ms`)
      await pause(callers * 50)
    }
  }
  const lives = Promise.all(Array.from({ length: callers }, (_, i) => live(i)))
  const accepted = () => new Set(answers.flatMap(({ status, task }) => (status === 202 && task ? [task] : [])))
  const untilMore = async (): Promise<void> => {
    const least = accepted().size + acceptedBetween
    if (!(await until(() => accepted().size >= least || undefined, withinMs)))
      throw new Error(`fewer than ${acceptedBetween} posts were accepted within ${withinMs} ms`)
  }
  const kill = async (): Promise<void> => {
    for (let i = 0; i < times; i++) {
      await untilMore()
      await rig.redis.kill(downMs)
    }
    await untilMore()
  }
  await Promise.race([kill(), lives]).finally(() => over.abort())
  await lives
  const client = createClient({ baseUrl: rig.balancers[0]!.url })
  return {
    what: `Redis killed ${times} times`,
    answers: count(answers.map(({ status }) => (status === 0 ? 'none' : String(status)))),
    ends: await endsOf(client, accepted())
  }
}

const headroomBytes = 4 * 1024 * 1024
const title = 'x'.repeat(30_000)
const mostLarge = 400
const refusedPosts = 20

const aLargeRequest = (key: string): GenerateRequest => {
  const request = aRequest({ kind: 'picture', ms: taskMs }, key)
  const prompt = Object.entries(request.prompt ?? {})
  return {
    ...request,
    prompt: Object.fromEntries(prompt.map(([id, node]) => [id, { ...(node as object), _meta: { title } }]))
  }
}

/** Fills a Redis with little room until a post is refused, then takes the last of the room and posts on. */
export const measureFull = async (rig: Rig): Promise<Kept[]> => {
  const client = createClient({ baseUrl: rig.balancers[0]!.url, tries: 1 })
  await untilReady(rig, client)
  const used = Number(/used_memory:(\d+)/.exec(await rig.ledger.info('memory'))?.[1])
  const accepted = new Set<string>()
  const post = async (key: string): Promise<string> => {
    try {
      accepted.add((await client.generate(aLargeRequest(key))).id)
      return '202'
    } catch (error) {
      return error instanceof ProblemError ? `${error.problem.status} ${error.problem.code}` : 'none'
    }
  }
  const [filling, full]: [string[], string[]] = [[], []]
  try {
    await rig.ledger.config('SET', 'maxmemory', String(used + headroomBytes))
    while (filling.length < mostLarge && (filling.at(-1) ?? '202') === '202')
      filling.push(await post(`fill-${filling.length}`))
    await rig.ledger.config('SET', 'maxmemory', '1mb')
    while (full.length < refusedPosts) full.push(await post(`full-${full.length}`))
    const ends = await endsOf(client, accepted)
    return [
      { what: `Redis with ${headroomBytes / 1024 / 1024} MiB to spare`, answers: count(filling), ends },
      { what: 'Redis with no byte to spare', answers: count(full), ends: new Map() }
    ]
  } finally {
    await rig.ledger.config('SET', 'maxmemory', '0')
  }
}

/** How each task ended; `missing` when the ledger does not know it, `unfinished` when it does not end. */
const endsOf = async (client: Client, ids: ReadonlySet<string>): Promise<Map<string, number>> => {
  const end = async (id: string): Promise<string> => {
    try {
      return (await client.wait(id, { timeoutMs: withinMs })).state
    } catch (error) {
      return error instanceof ProblemError && [404, 410].includes(error.problem.status) ? 'missing' : 'unfinished'
    }
  }
  return count(await Promise.all([...ids].map(end)))
}

/** Whether an accepted task did not succeed, or a post was refused with anything but 503 (R1). */
export const hasLost = ({ answers, ends }: Kept): boolean =>
  [...ends.keys()].some(end => end !== 'succeeded') ||
  [...answers.keys()].some(answer => !/^(202|503|none)/.test(answer))

/** One line for each. */
export const keptTable = (kept: readonly Kept[]): string => {
  const words = (counts: ReadonlyMap<string, number>) =>
    [...counts].map(([word, times]) => `${times} × ${word}`).join(', ')
  return markdownTable(
    ['', 'posts answered', 'accepted tasks ended'],
    kept.map(({ what, answers, ends }) => [what, words(answers), words(ends)])
  )
}
