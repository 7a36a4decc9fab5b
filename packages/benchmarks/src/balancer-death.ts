import { join } from 'node:path'
import { type Client, createClient } from '@comfy-balancer/client/client'
import type { Task } from '@comfy-balancer/contract/task'
import { until } from '@comfy-balancer/local/until'
import { aRequest } from './chaos/callers/workflows.ts'
import { claim, trap } from './chaos/faults/aimed-faults.ts'
import { readPrompts } from './chaos/history/service-logs.ts'
import type { Rig } from './chaos/rig/rig.ts'
import { untilReady } from './failover.ts'
import { markdownTable } from './table.ts'

/** What became of the tasks that were there when a balancer died. */
export type BalancerDeath = {
  readonly what: string
  readonly queued: number
  readonly running: number
  readonly tasks: number
  readonly lost: number
  /** Why tasks needed another attempt, one reason for each. */
  readonly retries: readonly string[]
  readonly successes: number
  readonly promptsRun: number
  readonly slotsLeft: number
}

type Blow = { readonly what: string; readonly tasks: number; readonly strike: (rig: Rig) => Promise<unknown> }

const taskMs = 500
const postsAtOnce = 8
const withinMs = 300_000
const slotMs = 6_000
const downMs = 10_000

const killAfterClaim = async ({ balancers }: Rig): Promise<unknown> => {
  for (const { program, toRedis } of [...balancers, ...balancers]) {
    let back: Promise<boolean> | undefined
    const kill = () => {
      back = program.kill(downMs)
    }
    if (await trap(toRedis, claim, true, kill)) return back
  }
  throw new Error('no balancer claimed anything')
}

const blows: readonly Blow[] = [
  { what: 'balancer killed', tasks: 240, strike: ({ balancers }) => balancers[0]!.program.kill(downMs) },
  { what: 'balancer killed before it hears that its claim succeeded', tasks: 80, strike: killAfterClaim }
]

/** Kills one of the balancers while tasks wait and run, in each manner once. */
export const measureBalancerDeath = async (rig: Rig): Promise<BalancerDeath[]> => {
  const found: BalancerDeath[] = []
  for (const blow of blows) found.push(await die(rig, blow))
  return found
}

const die = async (rig: Rig, { what, tasks: count, strike }: Blow): Promise<BalancerDeath> => {
  const clients = rig.balancers.map(({ url }) => createClient({ baseUrl: url }))
  const survivor = clients.at(-1)!
  await untilReady(rig, survivor)
  const before = { succeeded: await succeeded(survivor), prompts: promptsRun(rig) }
  const ids = await post(clients, count, what)
  const { queued, running } = await survivor.fleet()
  await strike(rig)
  const tasks = await Promise.all(ids.map(id => endOf(survivor, id)))
  const slots = () => rig.ledger.zcard(`${rig.prefix}slots`)
  await until(async () => ((await slots()) === 0 ? true : undefined), slotMs)
  return {
    ...{ what, queued, running, tasks: count },
    lost: tasks.filter(task => task?.state !== 'succeeded').length,
    retries: (await Promise.all(tasks.map(task => retriesOf(survivor, task)))).flat(),
    successes: (await succeeded(survivor)) - before.succeeded,
    promptsRun: promptsRun(rig) - before.prompts,
    slotsLeft: await slots()
  }
}

/** Through all balancers, a few at once. */
const post = async (clients: readonly Client[], count: number, name: string): Promise<string[]> => {
  const ids: string[] = []
  let posted = 0
  const work = async (client: Client) => {
    while (posted < count)
      ids.push((await client.generate(aRequest({ kind: 'picture', ms: taskMs }, `${name} ${++posted}`))).id)
  }
  await Promise.all(Array.from({ length: postsAtOnce }, (_, i) => work(clients[i % clients.length]!)))
  return ids
}

const endOf = (client: Client, id: string): Promise<Task | undefined> =>
  client.wait(id, { timeoutMs: withinMs }).catch(() => undefined)

const retriesOf = async (client: Client, task: Task | undefined): Promise<string[]> => {
  const reasons: string[] = []
  if (!task || task.attempt < 2) return reasons
  for await (const { type, at, node, reason } of client.watch(task.id, { signal: AbortSignal.timeout(withinMs) })) {
    if (type === 'task.retried') reasons.push(`${reason} (${node} ${at})`)
  }
  return reasons
}

const succeeded = async (client: Client): Promise<number> => (await client.fleet()).finished.succeeded ?? 0

const promptsRun = (rig: Rig): number => readPrompts(join(rig.folder, 'logs')).length

/** Whether a task was lost or run twice, or a slot stayed taken. */
export const hasLoss = (one: BalancerDeath): boolean =>
  one.lost + one.retries.length + one.slotsLeft > 0 || one.successes !== one.tasks || one.promptsRun !== one.tasks

/** One line for each death, and one for each second attempt. */
export const balancerDeathTable = (found: readonly BalancerDeath[]): string => {
  const table = markdownTable(
    ['', 'queued', 'running', 'tasks', 'lost', 'second attempts', 'successes', 'prompts run', 'slots left'],
    found.map(({ what, retries, ...counts }) => [
      what,
      ...[counts.queued, counts.running, counts.tasks, counts.lost, retries.length].map(String),
      ...[counts.successes, counts.promptsRun, counts.slotsLeft].map(String)
    ])
  )
  const notes = found.flatMap(({ what, retries }) => retries.map(why => `- ${what}, a second attempt: ${why}`))
  return [table, ...(notes.length > 0 ? [notes.join('\n')] : [])].join('\n\n')
}
