import type { Workflow } from './workflow.ts'

/** Random seeds lie below this: every sampler takes 32 bits, not all of them take 64. */
export const randomSeedEnd = 2 ** 32

/** Where a literal stands in a graph. */
export type GraphPlace = { readonly graphNode: string; readonly input: string }

/** The names under which ComfyUI's samplers, and those of its packs, take their seed. */
export const isSeedInput = (input: string): boolean => input === 'seed' || input === 'noise_seed'

/** Every input of the workflow that is a seed: named so, and a whole number rather than a link. */
export const seedInputsOf = ({ graphNodes }: Workflow): (GraphPlace & { readonly value: number })[] =>
  [...graphNodes.values()].flatMap(({ id, inputs }) =>
    Object.entries(inputs).flatMap(([input, found]) =>
      isSeedInput(input) && found.kind === 'literal' && Number.isInteger(found.value)
        ? [{ graphNode: id, input, value: found.value as number }]
        : []
    )
  )
