import { randomInt } from 'node:crypto'
import { type GraphPlace, randomSeedEnd, seedInputsOf } from '@comfy-balancer/domain/seeds'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { ExactText } from './deps.ts'
import type { Runnable } from './runnable.ts'

/** A text to run, and its seed where it has one. */
export type Variant = { readonly text: string; readonly seed: string | undefined }

/** A seed that the caller named: further tasks count up from it, to `most` at most. */
export type NamedSeed = GraphPlace & { readonly base: bigint; readonly most: number; readonly pointer: string }

/** How the seeds of a shot are chosen: some named, some left open, random ones from `least` up to, not including, `end`. */
export type SeedPlan = {
  readonly named: readonly NamedSeed[]
  readonly open: readonly GraphPlace[]
  readonly least: number
  readonly end: number
}

/** The graph's own seeds stand, unless several tasks are wanted. */
export const ownSeeds: SeedPlan = { named: [], open: [], least: 0, end: randomSeedEnd }

/**
 * The tasks' texts that a shot asks for: so many as its `count`, each with another seed. A seed that was left open is random; so are all seeds
 * of several tasks, except one that the caller named, from which they count up.
 */
export const variantsOf = (exactText: ExactText, { text, workflow, count = 1, seeds }: Runnable): Variant[] => {
  const { named, open, least, end } = seeds
  const places = seedInputsOf(workflow)
  if (count === 1 && open.length === 0) return [{ text, seed: seedOf(exactText, text, places) }]
  const drawn = count > 1 && named.length === 0 ? places : open
  if (drawn.length + named.length === 0) throw noSeed()
  for (const seed of named) if (seed.base + BigInt(count - 1) > seed.most) throw tooFar(seed, count)
  return Array.from({ length: count }, (_, index) => {
    const json = String(randomInt(least, end))
    const edits = [
      ...drawn.map(({ graphNode, input }) => ({ graphNode, input, json })),
      ...named.map(({ graphNode, input, base }) => ({ graphNode, input, json: String(base + BigInt(index)) }))
    ]
    return { text: exactText.withLiterals(text, edits), seed: named.length > 0 ? edits.at(-1)?.json : json }
  })
}

const noSeed = (): Refusal => {
  const detail = 'the workflow has no input seed or noise_seed to vary'
  return new Refusal('validation-failed', detail, { errors: [{ pointer: '/count', code: 'no-seed', detail }] })
}

const tooFar = ({ pointer, most }: NamedSeed, count: number): Refusal => {
  const detail = `${pointer} is the first of ${count} seeds, which would go beyond ${most}`
  return new Refusal('validation-failed', detail, { errors: [{ pointer, code: 'maximum', detail }] })
}

/** The one seed that a workflow names, in all its digits; undefined when it has none, or several. */
const seedOf = (
  { literalAt }: ExactText,
  text: string,
  places: ReturnType<typeof seedInputsOf>
): string | undefined => {
  const digits = places.map(({ graphNode, input, value }) =>
    Number.isSafeInteger(value) ? String(value) : literalAt(text, graphNode, input)
  )
  return new Set(digits).size === 1 ? digits[0] : undefined
}
