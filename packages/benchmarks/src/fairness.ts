import { createClient } from '@comfy-balancer/client/client'
import type { Task } from '@comfy-balancer/contract/task'
import { type LedgerPlace, makeTenant } from './make-tenant.ts'
import { quantile } from './quantile.ts'
import { markdownTable } from './table.ts'

/** What a light tenant met beside a heavy one, in seconds. */
export type Fairness = { readonly waits: readonly number[]; readonly taskSeconds: number; readonly stillQueued: number }

/** Where the fleet is, and its ledger. */
export type Place = LedgerPlace & { readonly url: string }

/** The simulated GPUs to measure with: slow ones, so that a task of about a second costs this machine little. */
export const gpus = { simulators: [{ speed: 0.1 }, { speed: 0.1 }, { speed: 0.1 }], timeScale: 0.1 }

const postsAtOnce = 10

const workflow = (seed: number): Record<string, unknown> => ({
  '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'sd_xl_base_1.0.safetensors' } },
  '2': { class_type: 'CLIPTextEncode', inputs: { text: 'a mountain lake', clip: ['1', 1] } },
  '3': { class_type: 'EmptyLatentImage', inputs: { width: 256, height: 256, batch_size: 1 } },
  '4': {
    class_type: 'KSampler',
    inputs: {
      ...{ seed, steps: 40, cfg: 7, sampler_name: 'euler', scheduler: 'normal', denoise: 1 },
      ...{ model: ['1', 0], positive: ['2', 0], negative: ['2', 0], latent_image: ['3', 0] }
    }
  },
  '5': { class_type: 'VAEDecode', inputs: { samples: ['4', 0], vae: ['1', 2] } },
  '6': { class_type: 'SaveImage', inputs: { images: ['5', 0], filename_prefix: 'fairness' } }
})

/**
 * Queues so many tasks of one tenant, then posts the other's one after another: real services, real keys. A wait is from acceptance to the
 * claim of a node, a task's time from there to its end.
 */
export const measureFairness = async (place: Place, queued: number, light: number): Promise<Fairness> => {
  const heavy = createClient({ baseUrl: place.url, apiKey: makeTenant(place, 'heavy') })
  let posted = 0
  const post = async () => {
    while (posted < queued) await heavy.generate({ prompt: workflow(++posted) })
  }
  await Promise.all(Array.from({ length: postsAtOnce }, post))
  const client = createClient({ baseUrl: place.url, apiKey: makeTenant(place, 'light') })
  const tasks: Task[] = []
  for (let i = 0; i < light; i++) {
    const task = await client.generate({ prompt: workflow(queued + i) })
    tasks.push(await client.wait(task.id))
  }
  const lost = tasks.find(task => task.state !== 'succeeded')
  if (lost) throw new Error(`${lost.state}: ${lost.error?.detail}`)
  const stillQueued = (await heavy.fleet()).queued
  return { waits: tasks.map(waitOf), taskSeconds: mean(tasks.map(task => lifeOf(task) - waitOf(task))), stillQueued }
}

const waitOf = (task: Task): number => task.timings.queuedSeconds ?? 0
const lifeOf = (task: Task): number => (Date.parse(task.finishedAt ?? '') - Date.parse(task.createdAt)) / 1000
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

/** The light tenant's waits, in seconds and in units of its tasks' mean time. */
export const fairnessTable = ({ waits, taskSeconds }: Fairness): string => {
  const rows = [
    ['p50', quantile(waits, 0.5)],
    ['p95', quantile(waits, 0.95)],
    ['longest', Math.max(...waits)]
  ] as const
  return markdownTable(
    ['wait of the light tenant', 'seconds', '÷ mean task time'],
    rows.map(([name, value]) => [name, value.toFixed(2), (value / taskSeconds).toFixed(2)])
  )
}
