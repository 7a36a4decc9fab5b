import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Workflow } from './picture.ts'
import type { Way } from './way.ts'

/** ComfyPool's three rules for choosing a ComfyUI, by their names there. */
export const poolModes = ['PICK_ZERO', 'PICK_LOWEST', 'PICK_ROUTINE'] as const
export type PoolMode = (typeof poolModes)[number]

/** What the worker is asked, and what it answers. */
export type PoolRequest = { readonly id: number; readonly mode: PoolMode; readonly prompt: Workflow }
export type PoolAnswer =
  | { readonly id: number; readonly bytes: number }
  | { readonly id: number; readonly error: string }

const deadlineMs = 60_000

/** The peer `@saintno/comfyui-sdk`, in a thread since a pool's loop never ends. */
export const startComfyPool = async (comfyUiUrls: readonly string[]) => {
  const program = new URL('./comfy-pool-worker.js', import.meta.url)
  const worker = new Worker(program, { workerData: comfyUiUrls, execArgv: ['--no-warnings'] })
  await once(worker, 'message')
  const asked = new Map<number, (answer: PoolAnswer) => void>()
  worker.on('message', (answer: PoolAnswer) => asked.get(answer.id)?.(answer))
  let last = 0
  const way = (mode: PoolMode): Way => ({
    name: `ComfyPool, ${mode}`,
    run: async prompt => {
      const id = ++last
      const answered = new Promise<PoolAnswer>(resolve => asked.set(id, resolve))
      worker.postMessage({ id, mode, prompt } satisfies PoolRequest)
      const late = setTimeout(() => asked.get(id)?.({ id, error: `no picture after ${deadlineMs} ms` }), deadlineMs)
      const answer = await answered
      clearTimeout(late)
      asked.delete(id)
      if ('error' in answer) throw new Error(`ComfyPool, ${mode}: ${answer.error}`)
      return answer.bytes
    },
    close: async () => undefined
  })
  return { ways: poolModes.map(way), close: async () => void (await worker.terminate()) }
}
