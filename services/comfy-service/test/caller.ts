import { randomUUID } from 'node:crypto'
import type { Node } from '@comfy-balancer/contract/node'
import type { Task } from '@comfy-balancer/contract/task'
import { until } from './wait.ts'

export type Caller = ReturnType<typeof createCaller>

const ended = new Set(['succeeded', 'failed', 'cancelled', 'expired'])

/** A service that shares its event loop with the test and the simulator may miss the ledger's answer; callers then ask again, as it says. */
const untilAnswered = (what: string, ask: () => Promise<Response>): Promise<Response> =>
  until(what, async () => {
    const answer = await ask()
    return answer.status !== 503 && answer
  })

/** What a user of one comfy-service does, over HTTP. */
export const createCaller = (url: string) => {
  const get = async (path: string): Promise<Response> => fetch(`${url}${path}`)
  const post = (body: string, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`${url}/api/v1/generate`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', ...headers }
    })
  const task = async (id: string): Promise<Task> =>
    (await (await untilAnswered(`${id} is shown`, () => get(`/api/v1/tasks/${id}`))).json()) as Task

  return {
    get,
    post,
    task,

    /** Posts a workflow that must be accepted; its id. */
    async generate(prompt: object | string, more: object = {}): Promise<string> {
      const text = typeof prompt === 'string' ? prompt : JSON.stringify(prompt)
      const rest = Object.entries(more).map(([name, value]) => `,${JSON.stringify(name)}:${JSON.stringify(value)}`)
      const key = { 'idempotency-key': randomUUID() }
      const answer = await untilAnswered('a task is accepted', () => post(`{"prompt":${text}${rest.join('')}}`, key))
      const body = (await answer.json()) as Task
      if (answer.status !== 202) throw new Error(JSON.stringify(body))
      return body.id
    },

    cancel: (id: string): Promise<Response> => fetch(`${url}/api/v1/tasks/${id}`, { method: 'DELETE' }),

    /** The task as soon as it is as asked for. */
    when: (id: string, what: string, isSo: (task: Task) => boolean): Promise<Task> =>
      until(`${id} ${what}`, async () => {
        const now = await task(id)
        if (isSo(now)) return now
        if (ended.has(now.state)) throw new Error(`not ${what}, but ${JSON.stringify(now)}`)
        return undefined
      }),

    /** The task when it has ended, however. */
    outcome: (id: string): Promise<Task> =>
      until(`${id} ends`, async () => {
        const now = await task(id)
        return ended.has(now.state) && now
      }),

    node: async (): Promise<Node> => (await (await get('/api/v1/nodes/self')).json()) as Node,

    async bytes(path: string): Promise<Buffer> {
      const answer = await get(path)
      if (answer.status !== 200) throw new Error(`${path} gives ${answer.status}`)
      return Buffer.from(await answer.arrayBuffer())
    }
  }
}
