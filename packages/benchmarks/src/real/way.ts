import { createClient } from '@comfy-balancer/client/client'
import { isFinished } from '@comfy-balancer/client/task-end'
import { createDirectCaller } from '../direct-caller.ts'
import type { Workflow } from './picture.ts'

/** One way to give a workflow to some GPU: resolves with the number of the picture's bytes when they are in the caller's hands. */
export type Way = {
  readonly name: string
  readonly run: (prompt: Workflow) => Promise<number>
  readonly close: () => Promise<void>
}

const waitSeconds = 30

/** Through a balancer or a comfy-service, as its users do it. */
export const throughUs = (name: string, url: string): Way => {
  const client = createClient({ baseUrl: url })
  return {
    name,
    run: async prompt => {
      const posted = await client.generate({ prompt }, { waitSeconds })
      const task = isFinished(posted.state) ? posted : await client.wait(posted.id)
      const [output] = task.outputs
      if (task.state !== 'succeeded' || !output) throw new Error(`${name}: ${task.state}: ${task.error?.detail}`)
      return (await (await client.download(output)).arrayBuffer()).byteLength
    },
    close: async () => undefined
  }
}

/** Posts to `url` at once: ComfyUI queues it, or whoever stands in front of the ComfyUIs passes it on. */
export const atOnce = async (name: string, url: string, comfyUiUrls: readonly string[]): Promise<Way> => {
  const { run, close } = await createDirectCaller(url, comfyUiUrls)
  return { name, run, close }
}
