import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Client, createClient } from '@comfy-balancer/client/client'
import type { Task } from '@comfy-balancer/contract/task'
import type { Fleet } from '@comfy-balancer/local/fleet'
import { root } from '@comfy-balancer/local/root'
import { until } from '@comfy-balancer/local/until'
import { markdownTable } from './table.ts'

/** What a rolling restart of a whole fleet under load cost; `said` is what the command printed, `exitCode` how it ended. */
export type RollingRestart = {
  readonly nodes: number
  readonly tasks: number
  readonly failed: number
  readonly secondAttempts: number
  readonly leastReady: number
  readonly seconds: number
  readonly exitCode: number
  readonly said: string
}

const sampleMs = 100
const readyMs = 120_000
const perNode = 3
const taskSeconds = 1

/** Restarts every node by the command that operators use while three tasks for each node are under way all the time. */
export const measureRollingRestart = async (fleet: Fleet): Promise<RollingRestart> => {
  const url = fleet.balancerUrls[0]!
  const client = createClient({ baseUrl: url })
  const nodes = fleet.nodes.length
  const isReady = await until(async () => ((await readyNodes(client)) === nodes ? true : undefined), readyMs)
  if (!isReady) throw new Error(`the fleet is not ready: ${JSON.stringify(await client.nodes())}`)
  const load = startLoad(client, nodes * perNode)
  const watch = watchReady(client)
  const startedMs = performance.now()
  const { exitCode, said } = await runCommand(url)
  const seconds = (performance.now() - startedMs) / 1_000
  const leastReady = await watch.stop()
  const tasks = await load.stop()
  return {
    nodes,
    tasks: tasks.length,
    failed: tasks.filter(({ state }) => state !== 'succeeded').length,
    secondAttempts: tasks.filter(({ attempt }) => attempt > 1).length,
    ...{ leastReady, seconds, exitCode, said }
  }
}

const readyNodes = async (client: Client): Promise<number> =>
  (await client.nodes()).filter(({ state }) => state === 'ready').length

/** So many callers, each with a task after the other. */
const startLoad = (client: Client, callers: number) => {
  let isStopped = false
  let count = 0
  const call = async (): Promise<Task[]> => {
    const tasks: Task[] = []
    while (!isStopped) {
      const { id } = await client.generate({ prompt: aPicture(++count) })
      tasks.push(await client.wait(id))
    }
    return tasks
  }
  const all = Array.from({ length: callers }, call)
  return {
    stop: async (): Promise<Task[]> => {
      isStopped = true
      return (await Promise.all(all)).flat()
    }
  }
}

const aPicture = (color: number): Record<string, unknown> => ({
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 48, batch_size: 1, color } },
  '2': { class_type: 'TestSleep', inputs: { value: ['1', 0], seconds: taskSeconds } },
  '9': { class_type: 'SaveImage', inputs: { images: ['2', 0], filename_prefix: 'rolling' } }
})

/** Samples how many nodes are ready; answers the fewest. */
const watchReady = (client: Client) => {
  let isStopped = false
  const watching = (async () => {
    let least = Number.POSITIVE_INFINITY
    while (!isStopped) {
      least = Math.min(least, await readyNodes(client))
      await pause(sampleMs)
    }
    return least
  })()
  return {
    stop: (): Promise<number> => {
      isStopped = true
      return watching
    }
  }
}

/** Runs the command with these words until it ends. */
export const runCommand = async (
  url: string,
  ...words: string[]
): Promise<Pick<RollingRestart, 'exitCode' | 'said'>> => {
  const program = join(root, 'services/comfy-balancer/dist/src/rolling-restart/main.js')
  const child = spawn(process.execPath, [program, '--url', url, ...words], { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
  }
  const [code] = (await once(child, 'close')) as [number | null]
  return { exitCode: code ?? 1, said }
}

/** True unless every node came back, no task failed and never more than one node was missing. */
export const isBroken = ({ exitCode, failed, leastReady, nodes }: RollingRestart): boolean =>
  exitCode !== 0 || failed > 0 || leastReady < nodes - 1

/** The figures in one row. */
export const rollingRestartTable = (found: RollingRestart): string =>
  markdownTable(
    ['nodes', 'tasks', 'failed', 'second attempts', 'least ready nodes', 'seconds'],
    [
      [found.nodes, found.tasks, found.failed, found.secondAttempts, found.leastReady, found.seconds.toFixed(1)].map(
        String
      )
    ]
  )
