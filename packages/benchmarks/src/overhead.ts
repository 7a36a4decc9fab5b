import { createClient } from '@comfy-balancer/client/client'
import type { Fleet } from '@comfy-balancer/local/fleet'
import { createDirectCaller } from './direct-caller.ts'
import { quantile } from './quantile.ts'
import { markdownTable } from './table.ts'

/** What one way of running a trivial workflow took, in ms: soon after the services' start, and after they had run for a while. */
export type Way = { readonly name: string; readonly freshMs: readonly number[]; readonly steadyMs: readonly number[] }

const warmUps = 15
/** V8 has compiled what runs often by then; what comes later takes as long as on the next day. */
const rounds = { fresh: 200, until: 1_800 }

/** A workflow that costs ComfyUI next to nothing; another colour is another picture, so that nothing is cached. */
const trivial = (color: number): Record<string, unknown> => ({
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color } },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'overhead' } }
})

/**
 * Sequential trivial tasks in turn: straight to ComfyUI, through comfy-service, through comfy-balancer and comfy-service. Each way ends
 * with the bytes of the picture in the caller's hands.
 */
export const measureOverhead = async (fleet: Fleet, steadyRounds: number): Promise<Way[]> => {
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
  ].map(way => ({ ...way, freshMs: [] as number[], steadyMs: [] as number[] }))
  const end = warmUps + rounds.until + steadyRounds
  try {
    for (let round = 0; round < end; round++) {
      for (const [i, way] of ways.entries()) {
        const startedMs = performance.now()
        const bytes = await way.run(trivial(round * ways.length + i))
        if (bytes === 0) throw new Error(`${way.name} gave an empty picture`)
        const tookMs = performance.now() - startedMs
        if (round >= warmUps && round < warmUps + rounds.fresh) way.freshMs.push(tookMs)
        if (round >= warmUps + rounds.until) way.steadyMs.push(tookMs)
      }
    }
  } finally {
    await direct.close()
  }
  return ways
}

/** The table of what each way adds to the first. */
export const overheadTable = (ways: readonly Way[]): string => {
  const phases = [
    { when: `first ${rounds.fresh} after the start`, of: (way: Way) => way.freshMs },
    { when: 'steady', of: (way: Way) => way.steadyMs }
  ]
  const ms = (value: number) => `${value.toFixed(1)} ms`
  const rows = phases.flatMap(({ when, of }) => {
    const [base = [], ...others] = ways.map(of)
    const quantiles = (way: readonly number[]) => [0.5, 0.95].map(share => quantile(way, share))
    const [p50, p95] = quantiles(base)
    const added = others.map(way => quantiles(way).map((value, i) => ms(value - [p50!, p95!][i]!)))
    return ways.map((way, i) => [way.name, when, ...quantiles(of(way)).map(ms), ...(added[i - 1] ?? ['', ''])])
  })
  return markdownTable(['way', 'tasks', 'p50', 'p95', 'added p50', 'added p95'], rows)
}
