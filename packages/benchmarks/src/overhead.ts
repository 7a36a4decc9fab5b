import { createClient } from '@comfy-balancer/client/client'
import type { Fleet } from '@comfy-balancer/local/fleet'
import { createDirectCaller } from './direct-caller.ts'
import { quantile } from './quantile.ts'
import { markdownTable } from './table.ts'

/** What one way of running a trivial workflow took, in ms. */
export type Way = { readonly name: string; readonly durationsMs: readonly number[] }

const warmUps = 15

/** A workflow that costs ComfyUI next to nothing; another colour is another picture, so that nothing is cached. */
const trivial = (color: number): Record<string, unknown> => ({
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color } },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'overhead' } }
})

/**
 * Sequential trivial tasks in turn: straight to ComfyUI, through comfy-service, through comfy-balancer and comfy-service. Each way ends
 * with the bytes of the picture in the caller's hands.
 */
export const measureOverhead = async (fleet: Fleet, rounds: number): Promise<Way[]> => {
  const node = fleet.nodes[0]!
  const direct = await createDirectCaller(node.comfyUiUrl)
  const through = (url: string) => {
    const client = createClient({ baseUrl: url })
    return async (prompt: Record<string, unknown>): Promise<number> => {
      const task = await client.generate({ prompt }, { waitSeconds: 30 })
      const [output] = task.outputs
      if (task.state !== 'succeeded' || !output) throw new Error(`${task.state}: ${task.error?.detail}`)
      return (await (await client.download(output)).arrayBuffer()).byteLength
    }
  }
  const ways = [
    { name: 'straight to ComfyUI', run: direct.run },
    { name: 'through comfy-service', run: through(node.url) },
    { name: 'through comfy-balancer and comfy-service', run: through(fleet.balancerUrls[0]!) }
  ].map(way => ({ ...way, durationsMs: [] as number[] }))
  try {
    for (let round = 0; round < rounds + warmUps; round++) {
      for (const [i, way] of ways.entries()) {
        const startedMs = performance.now()
        const bytes = await way.run(trivial(round * ways.length + i))
        if (bytes === 0) throw new Error(`${way.name} gave an empty picture`)
        if (round >= warmUps) way.durationsMs.push(performance.now() - startedMs)
      }
    }
  } finally {
    await direct.close()
  }
  return ways
}

/** The table of what each way adds to the first. */
export const overheadTable = (ways: readonly Way[]): string => {
  const [base] = ways
  const at = (way: Way, share: number) => quantile(way.durationsMs, share)
  const ms = (value: number) => `${value.toFixed(1)} ms`
  const rows = ways.map(way => [
    way.name,
    ms(at(way, 0.5)),
    ms(at(way, 0.95)),
    ...(way === base ? ['', ''] : [ms(at(way, 0.5) - at(base!, 0.5)), ms(at(way, 0.95) - at(base!, 0.95))])
  ])
  return markdownTable(['way', 'p50', 'p95', 'added p50', 'added p95'], rows)
}
