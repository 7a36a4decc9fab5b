import { randomInt } from 'node:crypto'
import type { ShotRequest } from '@comfy-balancer/contract/generate'
import { randomSeedEnd, seedInputsOf } from '@comfy-balancer/domain/seeds'
import type { Workflow } from '@comfy-balancer/domain/workflow'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { TaskApiDeps } from './deps.ts'

/** A text to run, and its seed where it has one. */
export type Variant = { readonly text: string; readonly seed: string | undefined }

type Readable = { readonly body: ShotRequest; readonly text: string; readonly workflow: Workflow }

/** The tasks' texts that a shot asks for: itself, or with `count` so many with a random seed each. */
export const variantsOf = (
  { exactText }: Pick<TaskApiDeps, 'exactText'>,
  { body, text, workflow }: Readable
): Variant[] => {
  const { count = 1 } = body
  const places = seedInputsOf(workflow)
  if (count === 1) return [{ text, seed: ownSeed(exactText, text, places) }]
  if (places.length === 0) throw noSeed()
  return Array.from({ length: count }, () => {
    const json = String(randomInt(randomSeedEnd))
    return {
      text: exactText.withLiterals(
        text,
        places.map(place => ({ ...place, json }))
      ),
      seed: json
    }
  })
}

const noSeed = (): Refusal => {
  const detail = 'the workflow has no input seed or noise_seed to vary'
  return new Refusal('validation-failed', detail, { errors: [{ pointer: '/count', code: 'no-seed', detail }] })
}

/** The one seed that a workflow names, in all its digits; undefined when it has none, or several. */
const ownSeed = (
  { literalAt }: TaskApiDeps['exactText'],
  text: string,
  places: ReturnType<typeof seedInputsOf>
): string | undefined => {
  const digits = places.map(({ graphNode, input, value }) =>
    Number.isSafeInteger(value) ? String(value) : literalAt(text, graphNode, input)
  )
  return new Set(digits).size === 1 ? digits[0] : undefined
}
